/** One region of memory addressed by offsets: the arena of the real packet path, an ordinary ArrayBuffer in tests. */
export interface Memory {
  readonly bytes: Uint8Array;
  /** The same bytes. */
  readonly view: DataView;
}

/** Memory of the ordinary heap, for tests and simulation. */
export function heapMemory(sizeBytes: number): Memory {
  const buffer = new ArrayBuffer(sizeBytes);
  return { bytes: new Uint8Array(buffer), view: new DataView(buffer) };
}
