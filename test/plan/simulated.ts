/**
 * A simulated Linux host, as good as the real one where yoke touches it: it takes the same commands, and refuses, forgets and couples
 * as the kernel does. The contract suite (test/host/contract.ts) runs against both.
 *
 *   device gone       its addresses, routes and settings are gone; rules that name it stay
 *   device down       its routes are gone
 *   address gone      IPv4 routes with it as source are gone
 *   ip_forward        writes every device's forwarding, and all/accept_redirects
 */
import type { Host } from '../../src/plan/apply.ts';
import { performByCommands } from '../../src/plan/apply.ts';
import { type Command, commandsOf } from '../../src/plan/command.ts';
import type { Access, Facts, LinkFacts, Lookout } from '../../src/plan/facts.ts';
import { sysctlKeys } from '../../src/plan/facts.ts';
import { markOfListing } from '../../src/plan/nft.ts';
import type { Entry, Observed, Step } from '../../src/plan/plan.ts';
import { type Family, PROTOCOL, slotOf, type Thing } from '../../src/plan/thing.ts';

export interface SimDevice {
  index: number;
  up: boolean;
  mtu: number;
  addresses: string[];
  pointToPoint: boolean;
}

interface SimRoute {
  family: Family;
  table: number;
  to: string;
  metric: number;
  words: string;
  dev?: string;
  src?: string;
  proto: number;
  thing?: Thing;
}

interface SimRule {
  family: Family;
  words: string;
  proto: number;
  thing?: Thing;
}

export class SimulatedHost implements Host {
  devices = new Map<string, SimDevice>();
  #lastIndex = 0;
  rules: SimRule[] = [];
  routes: SimRoute[] = [];
  nft = new Map<string, string>();
  sysctls = new Map<string, string>([
    ['net/ipv4/ip_forward', '0'],
    ['net/ipv4/conf/all/forwarding', '0'],
    ['net/ipv4/conf/default/forwarding', '0'],
    ['net/ipv4/conf/all/accept_redirects', '1'],
    ['net/ipv4/conf/all/rp_filter', '0'],
    ['net/ipv4/conf/default/rp_filter', '0'],
    ['net/ipv6/conf/all/forwarding', '0'],
    ['net/ipv6/conf/default/forwarding', '0'],
    ['net/ipv6/conf/default/accept_ra', '1'],
  ]);

  addDevice(name: string, pointToPoint = false): void {
    this.devices.set(name, { index: ++this.#lastIndex, up: false, mtu: 1500, addresses: [], pointToPoint });
    for (const key of ['net/ipv4/conf/X/forwarding', 'net/ipv4/conf/X/rp_filter'])
      this.sysctls.set(key.replace('X', name), this.sysctls.get(key.replace('X', 'default'))!);
    for (const key of ['net/ipv6/conf/X/forwarding', 'net/ipv6/conf/X/accept_ra'])
      this.sysctls.set(key.replace('X', name), this.sysctls.get(key.replace('X', 'default'))!);
    this.sysctls.set(`net/ipv6/conf/${name}/addr_gen_mode`, '0');
  }

  removeDevice(name: string): void {
    this.devices.delete(name);
    this.routes = this.routes.filter((r) => r.dev !== name);
    for (const key of [...this.sysctls.keys()]) if (key.includes(`/conf/${name}/`)) this.sysctls.delete(key);
  }

  setUp(name: string, up: boolean): void {
    this.#device(name).up = up;
    if (!up) this.routes = this.routes.filter((r) => r.dev !== name);
  }

  addAddress(name: string, address: string): void {
    const device = this.#device(name);
    if (device.addresses.includes(address)) throw new Error('RTNETLINK answers: File exists');
    device.addresses.push(address);
  }

  removeAddress(name: string, address: string): void {
    const device = this.#device(name);
    const at = device.addresses.indexOf(address);
    if (at < 0) throw new Error('RTNETLINK answers: Cannot assign requested address');
    device.addresses.splice(at, 1);
    this.routes = this.routes.filter((r) => !(r.dev === name && r.src === address.split('/')[0]));
  }

  setSetting(key: string, value: string): void {
    const before = this.sysctls.get(key);
    if (before === undefined) throw Object.assign(new Error(`no such file ${key}`), { code: 'ENOENT' });
    this.sysctls.set(key, value);
    const coupled = (version: string) => {
      for (const k of this.sysctls.keys())
        if (k.startsWith(`net/${version}/conf/`) && k.endsWith('/forwarding')) this.sysctls.set(k, value);
    };
    if (key === 'net/ipv4/ip_forward' && before !== value) {
      coupled('ipv4');
      this.sysctls.set('net/ipv4/conf/all/accept_redirects', value === '0' ? '1' : '0');
    }
    if (key === 'net/ipv6/conf/all/forwarding') coupled('ipv6');
  }

  /** Everything there is, to be compared. */
  snapshot(): unknown {
    return {
      devices: Object.fromEntries(
        [...this.devices].sort().map(([n, d]) => [n, { ...d, index: 0, addresses: [...d.addresses] }]),
      ),
      rules: this.rules.map((r) => `${r.family} ${r.words}`).sort(),
      routes: this.routes.map((r) => `${r.family} ${r.words}`).sort(),
      nft: Object.fromEntries([...this.nft].sort()),
      sysctls: Object.fromEntries([...this.sysctls].sort()),
    };
  }

  perform(step: Step): Promise<void> {
    return performByCommands(
      step,
      async (command) => this.carryOut(command),
      (slotsOf) => this.read(slotsOf),
    );
  }

  /** As `ip -batch` does: up to the first line that fails. */
  async performTogether(group: readonly Step[]): Promise<boolean> {
    try {
      for (const command of group.flatMap(commandsOf)) this.carryOut(command);
      return true;
    } catch {
      return false;
    }
  }

  async read(slotsOf: readonly Thing[]): Promise<Observed> {
    const things: Thing[] = [];
    for (const list of [this.rules, this.routes])
      things.push(...list.flatMap((r) => (r.proto === PROTOCOL && r.thing ? [r.thing] : [])));
    for (const table of new Set(slotsOf.flatMap((t) => (t.kind === 'nft' ? [t.table] : [])))) {
      const text = this.nft.get(table);
      if (text !== undefined) things.push({ kind: 'nft', table, mark: markOfListing(text), text });
    }
    for (const key of new Set(slotsOf.flatMap((t) => (t.kind === 'sysctl' ? [t.key] : []))))
      things.push(...this.#settingThing(key));
    const named = slotsOf.flatMap((t) => (t.kind === 'address' || t.kind === 'mtu' || t.kind === 'up' ? [t.dev] : []));
    for (const dev of new Set(named)) {
      const d = this.devices.get(dev);
      if (!d) continue;
      things.push({ kind: 'mtu', dev, mtu: d.mtu }, { kind: 'up', dev, up: d.up });
      for (const address of d.addresses)
        things.push({ kind: 'address', family: address.includes(':') ? 6 : 4, dev, address });
    }
    const unique = [...new Map(things.map((t) => [slotOf(t), t])).values()];
    const indexes = Object.fromEntries([...this.devices].map(([name, d]) => [name, d.index]));
    return { devices: [...this.devices.keys()], indexes, things: structuredClone(unique) };
  }

  #settingThing(key: string): Thing[] {
    const value = this.sysctls.get(key);
    if (value === undefined) return [];
    const version = key === 'net/ipv4/ip_forward' ? 'ipv4' : key === 'net/ipv6/conf/all/forwarding' ? 'ipv6' : '';
    const implied = new Map<string, string>();
    for (const k of this.sysctls.keys())
      if (version && k.startsWith(`net/${version}/conf/`) && k.endsWith('/forwarding')) implied.set(k, value);
    if (version === 'ipv4') implied.set('net/ipv4/conf/all/accept_redirects', value === '0' ? '1' : '0');
    const extras = [...implied].flatMap(([k, v]): [string, string][] =>
      this.sysctls.get(k) === v ? [] : [[k, this.sysctls.get(k)!]],
    );
    return [{ kind: 'sysctl', key, value, ...(extras.length > 0 && { extras }) }];
  }

  /** What host/observe.ts would say; the gateway of a link is the first address of its network. */
  async observe(lookout: Lookout, journal: readonly Entry[] = []): Promise<Facts> {
    const links = lookout.links.map((l): LinkFacts => {
      const d = this.devices.get(l.interface);
      if (!d) return { name: l.name, up: false, mtu: 0, problem: `no device ${l.interface}` };
      const base = { name: l.name, device: l.interface, up: d.up, mtu: d.mtu };
      if (!d.up) return { ...base, problem: `${l.interface} is down` };
      const access = (v6: boolean): Access | undefined => {
        const [first, ...others] = d.addresses.filter((a) => a.includes(':') === v6).map((a) => a.split('/')[0]);
        if (!first) return undefined;
        const gateway = first.replace(/[^.:]+$/, '1');
        const common = { address: first, prefixLength: v6 ? 64 : 24, others };
        return d.pointToPoint ? { ...common, source: 'point-to-point' } : { ...common, gateway, source: 'main table' };
      };
      const v4 = access(false);
      const v6 = access(true);
      return { ...base, ...(v4 && { v4 }), ...(v6 && { v6 }), ...(!v4 && !v6 && { problem: 'no address' }) };
    });
    const linkDevices = links.flatMap((l) => l.device ?? []);
    const keys = sysctlKeys(lookout.device, linkDevices, [...this.devices.keys()]);
    const seen = await this.read([
      { kind: 'nft', table: lookout.nftTable, mark: '', text: '' },
      { kind: 'up', dev: lookout.device, up: true },
      ...keys.map((key): Thing => ({ kind: 'sysctl', key, value: '' })),
      ...journal.map((e) => e.ours),
    ]);
    return { ipv6: true, ...seen, tables: {}, links, raDevices: [] };
  }

  /** Does what a command does, or throws what it says. */
  carryOut(command: Command): void {
    if ('write' in command) {
      try {
        this.setSetting(command.write.slice('/proc/sys/'.length), command.text);
      } catch (error) {
        if (!(command.mayBeGone && (error as NodeJS.ErrnoException).code === 'ENOENT')) throw error;
      }
      return;
    }
    const [program, ...words] = command.run;
    if (program === 'nft') this.#nft(words, command.stdin ?? '');
    else if (words[0] === 'link') this.#link(words.slice(2));
    else {
      const family: Family = words[0] === '-6' ? 6 : 4;
      const rest = words.slice(3);
      if (words[1] === 'rule') this.#rule(family, words[2], rest);
      else if (words[1] === 'route') this.#route(family, words[2], rest);
      else if (words[1] === 'addr') {
        const dev = rest[2];
        if (words[2] === 'add') this.addAddress(dev, rest[0]);
        else this.removeAddress(dev, rest[0]);
      } else throw new Error(`Object "${words[1]}" is unknown`);
    }
  }

  #nft(words: string[], stdin: string): void {
    if (words[0] === '-f') {
      const name = /^table inet (\S+) \{/m.exec(stdin)?.[1];
      if (!name) throw new Error('syntax error');
      this.nft.set(name, stdin.slice(stdin.indexOf(`table inet ${name} {`)));
    } else if (!this.nft.delete(words[3])) throw new Error('Error: No such file or directory');
  }

  #link([, name, what, value]: string[]): void {
    if (what === 'mtu') this.#device(name).mtu = Number(value);
    else this.setUp(name, what === 'up');
  }

  #rule(family: Family, verb: string, words: string[]): void {
    const text = words.join(' ');
    const at = this.rules.findIndex((r) => r.family === family && r.words === text);
    if (verb === 'add') {
      if (at >= 0) throw new Error('RTNETLINK answers: File exists');
      const named = pairs(words);
      const table = named.lookup === 'main' ? 254 : Number(named.lookup);
      const thing: Thing = {
        kind: 'rule',
        family,
        priority: Number(named.priority),
        table,
        ...(named.from && { from: named.from }),
        ...(named.oif && { oif: named.oif }),
        ...(named.fwmark && { [words.includes('not') ? 'notFwmark' : 'fwmark']: Number(named.fwmark) }),
        ...(named.suppress_prefixlength && { suppressDefault: true }),
      };
      this.rules.push({ family, words: text, proto: Number(named.protocol ?? 0), thing });
    } else if (at < 0) throw new Error('RTNETLINK answers: No such file or directory');
    else this.rules.splice(at, 1);
  }

  #route(family: Family, verb: string, words: string[]): void {
    const unreachable = words[0] === 'unreachable';
    const rest = unreachable ? words.slice(1) : words;
    const named = pairs(rest.slice(1));
    const table = named.table === 'main' ? 254 : Number(named.table);
    const key = { family, table, to: rest[0], metric: Number(named.metric) };
    const dev = named.dev;
    const at = this.routes.findIndex(
      (r) => r.family === family && r.table === table && r.to === key.to && r.metric === key.metric,
    );
    if (verb === 'del') {
      if (dev !== undefined && !this.devices.has(dev)) throw new Error(`Cannot find device "${dev}"`);
      if (at < 0) throw new Error('RTNETLINK answers: No such process');
      this.routes.splice(at, 1);
      return;
    }
    if (!unreachable && !this.#device(dev).up) throw new Error('Error: Device for nexthop is not up.');
    if (verb === 'add' && at >= 0) throw new Error('RTNETLINK answers: File exists');
    const thing: Thing = {
      kind: 'route',
      ...key,
      type: unreachable ? 'unreachable' : 'unicast',
      ...(named.via && { via: named.via }),
      ...(dev && { dev }),
      ...(rest.includes('onlink') && { onlink: true }),
      ...(named.src && { src: named.src }),
    };
    const route = { ...key, words: words.join(' '), dev, src: named.src, proto: Number(named.proto ?? 0), thing };
    if (at >= 0) this.routes[at] = route;
    else this.routes.push(route);
  }

  #device(name: string | undefined): SimDevice {
    const device = this.devices.get(name ?? '');
    if (!device) throw new Error(`Cannot find device "${name}"`);
    return device;
  }
}

/** `via A dev B onlink metric 1` → names and values; `not` and `onlink` stand alone. */
function pairs(words: string[]): Record<string, string | undefined> {
  const out: Record<string, string> = {};
  for (let i = 0; i < words.length; i++) {
    if (words[i] === 'not' || words[i] === 'onlink') continue;
    out[words[i]] = words[i + 1];
    i++;
  }
  return out;
}
