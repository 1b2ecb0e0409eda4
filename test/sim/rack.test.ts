/** Loss by time: what counts as lost, when, and how wide the window is that reordering gets. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rack, type RackView } from './rack.ts';

const RTT_US = 40_000;

/** A sender whose segments 0, 1, 2 … leave a millisecond apart. */
class Sender implements RackView {
  nowUs = 0;
  readonly minRttUs = RTT_US;
  readonly srttUs = RTT_US;
  sackedOut = 0;
  inRecovery = false;
  readonly rack = new Rack();
  readonly lost: number[] = [];
  private readonly sentUs = new Map<number, number>();

  constructor(count: number) {
    for (let seq = 0; seq < count; seq++) this.send(seq, 1_000 * seq);
  }

  isUnderWay(seq: number, sentUs: number): boolean {
    return this.sentUs.get(seq) === sentUs;
  }

  send(seq: number, us: number): void {
    this.sentUs.set(seq, us);
    this.rack.noteSent(seq, us);
  }

  /** It arrived; the acknowledgement is here now. */
  arrive(seq: number, again = false): void {
    const sentUs = this.sentUs.get(seq) as number;
    this.sentUs.delete(seq);
    this.rack.noteArrived(seq, sentUs, again, this);
    this.look();
  }

  look(): void {
    this.rack.findLost(this, (seq) => {
      this.sentUs.delete(seq);
      this.lost.push(seq);
    });
  }
}

test('what left before something that arrived is lost a fourth of a round trip later', () => {
  const sender = new Sender(4);
  sender.nowUs = 2_000 + RTT_US;
  sender.arrive(2);
  assert.deepEqual(sender.lost, []);
  assert.ok(sender.rack.dueUs >= sender.nowUs + RTT_US / 4);
  assert.ok(sender.rack.dueUs < Number.POSITIVE_INFINITY);
  sender.nowUs = sender.rack.dueUs;
  sender.look();
  // What left later is in no doubt.
  assert.deepEqual(sender.lost, [0, 1]);
  assert.equal(sender.rack.dueUs, Number.POSITIVE_INFINITY);
});

test('at once in recovery, or when three have arrived; unless segments were seen to overtake each other', () => {
  for (const [isReordering, lost] of [
    [false, [0, 1]],
    [true, []],
  ] as const) {
    for (const known of [{ inRecovery: true }, { sackedOut: 3 }]) {
      const sender = new Sender(4);
      Object.assign(sender, known);
      sender.rack.isReordering = isReordering;
      sender.nowUs = 2_000 + RTT_US;
      sender.arrive(2);
      assert.deepEqual(sender.lost, lost);
    }
  }
});

test('a segment sent again that was lost again is found by what left after it', () => {
  const sender = new Sender(2);
  sender.inRecovery = true;
  sender.send(0, 10_000);
  sender.nowUs = 1_000 + RTT_US;
  sender.arrive(1);
  assert.deepEqual(sender.lost, []);
  sender.send(2, 11_000);
  sender.nowUs = 11_000 + RTT_US;
  sender.arrive(2);
  assert.deepEqual(sender.lost, [0]);
});

test('an acknowledgement that comes too soon for what was sent again is that of its first sending', () => {
  const sender = new Sender(3);
  sender.inRecovery = true;
  sender.send(0, 30_000);
  sender.nowUs = 1_000 + RTT_US;
  sender.arrive(0, true);
  assert.deepEqual(sender.lost, []);
});

test('each round trip with a segment sent for nothing widens the window, sixteen recoveries without one take it back', () => {
  const windowUs = (rack: Rack) => {
    // A later one has arrived; the first is due after the window.
    const sender = new Sender(2);
    sender.rack.isReordering = true;
    Object.assign(sender, { rack });
    sender.send(0, 0);
    sender.send(1, 1_000);
    sender.nowUs = 1_000 + RTT_US;
    sender.arrive(1);
    return rack.dueUs - sender.nowUs;
  };
  const adapted = (rounds: number, recoveries: number) => {
    const rack = new Rack();
    rack.isReordering = true;
    for (let i = 0; i < rounds; i++) {
      rack.noteDuplicate();
      rack.adapt(100 * i, 100 * (i + 1));
      // Within a round trip it counts once.
      rack.noteDuplicate();
      rack.adapt(100 * i, 100 * (i + 1));
    }
    for (let i = 0; i < recoveries; i++) rack.noteRecovered();
    rack.adapt(1e6, 1e6);
    return windowUs(rack);
  };
  const one = adapted(0, 0);
  assert.equal(adapted(1, 0) - one, RTT_US / 4);
  assert.equal(adapted(2, 0) - one, RTT_US / 2);
  // A round trip at the most.
  assert.equal(adapted(9, 0) - one, (3 / 4) * RTT_US);
  assert.equal(adapted(2, 15) - one, RTT_US / 2);
  assert.equal(adapted(2, 16), one);
});
