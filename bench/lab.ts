/** A testnet up and down again, timed. */
import type { Topology } from '../netem/index.ts'
import { bringUp, type RuntimeName, removeRun, silentProgress } from '../scenarios/index.ts'

/** Seed of every benchmark's testnets. */
export const SEED = 'bench'

export const seconds = (ms: number): string => (ms / 1000).toFixed(1)

/**
 * From the runtime's first action to every host ready and registered, and from there to nothing left, milliseconds.
 * Images and bundles are built already.
 */
export async function labMs(topology: Topology, runtime: RuntimeName): Promise<{ upMs: number; downMs: number }> {
  const begun = performance.now()
  const signal = new AbortController().signal
  const { record } = await bringUp({ topology, seed: SEED, runtime, bound: true, progress: silentProgress, signal })
  const upMs = performance.now() - begun
  const left = await removeRun(record)
  if (left.length > 0) throw new Error(`Something is left: ${left.join(', ')}`)
  return { upMs, downMs: performance.now() - begun - upMs }
}
