/**
 * What the handshake needs of a cryptographic library, as an interface: `wire` itself touches no library and knows no chance.
 *
 * All byte arrays that come back are fresh and belong to the caller; arguments are only read. The handshake runs a few times a
 * second, so allocation is no matter here. The AEAD of the packet path is another interface (`aead.ts`).
 */

/** An X25519 key pair. Shape: 32 bytes each. */
export interface KeyPair {
  readonly publicKey: Uint8Array;
  readonly privateKey: Uint8Array;
}

/** The primitives of `Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s` and of the cookies. Source: docs/protocol.md §3. */
export interface HandshakeCrypto {
  /** A new X25519 key pair out of the system's randomness. */
  generateKeyPair(): KeyPair;
  /** The X25519 public key of a private key. */
  publicKey(privateKey: Uint8Array): Uint8Array;
  /**
   * X25519. Undefined when the result would be all zeros (a public key of small order, RFC 7748 §6.1): it never throws for what a
   * peer sent, so an implementation on OpenSSL, which refuses such keys with an error, turns that error into undefined.
   */
  dh(privateKey: Uint8Array, publicKey: Uint8Array): Uint8Array | undefined;
  /** BLAKE2s-256 of the parts one after the other. Shape: 32 bytes. */
  hash(...parts: Uint8Array[]): Uint8Array;
  /** HMAC (RFC 2104, block of 64 bytes) over BLAKE2s-256 of the parts one after the other. Shape: 32 bytes. */
  hmac(key: Uint8Array, ...parts: Uint8Array[]): Uint8Array;
  /** ChaCha20-Poly1305 (RFC 8439) with a 12-byte nonce. Shape: as long as `plain`, and the tag's 16 bytes after it. */
  seal(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plain: Uint8Array): Uint8Array;
  /** The inverse of `seal`; undefined when it does not authenticate or is shorter than a tag. */
  open(key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array | undefined;
  /** `n` bytes that nobody can predict. */
  random(n: number): Uint8Array;
  /** Whether both are the same bytes, in a time that depends only on their length; false when the lengths differ. */
  equal(a: Uint8Array, b: Uint8Array): boolean;
}
