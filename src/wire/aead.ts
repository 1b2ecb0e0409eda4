/**
 * The seam between the protocol and its cipher: keys that seal and open datagrams in place by offset. No code here, so that
 * the engine can be driven by the foreign-function cipher, by node:crypto or by a test's fake without knowing which.
 *
 * Offsets count from the start of the one memory (arena) that the provider was made for. The 96-bit nonce is four bytes of
 * `nonceHi` (big endian, the path) and eight of `nonceLo` (big endian, the packet number, below 2^53).
 */

/** One key of one direction. */
export interface AeadKey {
  /**
   * Encrypts `len` bytes at `srcOff` and writes them, followed by the 16-byte tag, at `dstOff`.
   * Invariant: `dstOff` is `srcOff` or the two ranges do not overlap.
   */
  seal(
    nonceHi: number,
    nonceLo: number,
    aadOff: number,
    aadLen: number,
    srcOff: number,
    len: number,
    dstOff: number,
  ): void;

  /**
   * Decrypts `len` bytes of ciphertext at `srcOff` (the tag follows them) to `dstOff`; false when the tag does not fit.
   * The bytes at `dstOff` are worth nothing after false.
   */
  open(
    nonceHi: number,
    nonceLo: number,
    aadOff: number,
    aadLen: number,
    srcOff: number,
    len: number,
    dstOff: number,
  ): boolean;

  /** Forgets the key; it must not be used afterwards. */
  free(): void;
}

/** The names of the ciphers that both ends can choose from. */
export type AeadCipher = 'aes-256-gcm' | 'chacha20-poly1305';

/** Makes keys that work on one memory. */
export interface AeadProvider {
  /** Takes a copy of the 32-byte key. */
  create(cipher: AeadCipher, key: Uint8Array): AeadKey;
}

/** Bytes of the authentication tag of both ciphers. Source: RFC 8439 §2.8, RFC 5116 §5.1. */
export const TAG_BYTES = 16;
