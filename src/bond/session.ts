/** A session: one pair of AEAD keys out of one handshake, and the indices by which both ends name it (docs/protocol.md §2). */
import type { AeadCipher, AeadKey, AeadProvider } from '../wire/aead.ts';
import type { SessionKeys } from '../wire/noise.ts';

/** Source: docs/protocol.md §3.4. */
export const REKEY_AFTER_US = 120_000_000;
export const REJECT_AFTER_US = 180_000_000;
export const REKEY_AFTER_PACKETS = 2 ** 30;

export class Session {
  readonly localIndex: number;
  readonly peerIndex: number;
  readonly cipher: AeadCipher;
  readonly sealKey: AeadKey;
  readonly openKey: AeadKey;
  readonly createdUs: number;
  /** Datagrams sealed and opened, all paths. */
  sealed = 0;
  opened = 0;

  constructor(
    aead: AeadProvider,
    cipher: AeadCipher,
    keys: SessionKeys,
    localIndex: number,
    peerIndex: number,
    nowUs: number,
  ) {
    this.localIndex = localIndex;
    this.peerIndex = peerIndex;
    this.cipher = cipher;
    this.sealKey = aead.create(cipher, keys.seal);
    this.openKey = aead.create(cipher, keys.open);
    this.createdUs = nowUs;
  }

  isExpired(nowUs: number): boolean {
    return nowUs - this.createdUs >= REJECT_AFTER_US;
  }

  /** When a new handshake is due. */
  get rekeyAtUs(): number {
    return this.sealed >= REKEY_AFTER_PACKETS ? this.createdUs : this.createdUs + REKEY_AFTER_US;
  }

  free(): void {
    this.sealKey.free();
    this.openKey.free();
  }
}
