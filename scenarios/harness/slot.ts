/** The first free slot: the only thing a runtime decides. */
import net from 'node:net'
import { SLOTS } from '../../netem/index.ts'
import { NoFreeSlotError } from './errors.ts'
import type { Runtime } from './runtime.ts'

export interface HeldSlot {
  slot: number
  /** Why earlier slots were passed over; empty for slot 0. */
  passed: number[]
  release: () => void
}

/**
 * Find and hold a slot until the testnet's own ports hold it. The hold is an abstract Unix socket: one name space for
 * the whole machine whatever clone or user asks, and the kernel frees it with the process.
 * @throws NoFreeSlotError
 */
export async function holdFreeSlot(runtime: Pick<Runtime, 'slotFree'>, taken: ReadonlySet<number>): Promise<HeldSlot> {
  const passed: number[] = []
  for (let slot = 0; slot < SLOTS; slot++) {
    if (!taken.has(slot)) {
      const release = await holdName(`slot-${slot}`)
      if (release !== null) {
        if (await runtime.slotFree(slot)) return { slot, passed, release }
        release()
      }
    }
    passed.push(slot)
  }
  throw new NoFreeSlotError(SLOTS)
}

/** Hold a name for the whole machine as long as this process lives; null when another has it. */
export async function holdName(name: string): Promise<(() => void) | null> {
  const server = net.createServer(socket => socket.destroy())
  const { promise, resolve } = Promise.withResolvers<(() => void) | null>()
  server.once('error', () => resolve(null))
  server.listen(`\0warren-${name}`, () => resolve(() => void server.close()))
  server.unref()
  return await promise
}
