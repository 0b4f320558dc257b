import assert from 'node:assert/strict'
import { SLOTS } from '../../netem/index.ts'
import type { Runtime } from './runtime.ts'
import { holdFreeSlot } from './slot.ts'

/** Only the question that is asked here; a whole runtime needs a lab. */
const withFree = (slots: number[]): Pick<Runtime, 'slotFree'> => ({ slotFree: async slot => slots.includes(slot) })

describe('the first free slot', () => {
  it('passes over what is taken, and is nobody else’s while it is held', async () => {
    const first = await holdFreeSlot(withFree([SLOTS - 2, SLOTS - 1]), new Set())
    const second = await holdFreeSlot(withFree([SLOTS - 2, SLOTS - 1]), new Set())
    assert.deepEqual([first.slot, second.slot].sort(), [SLOTS - 2, SLOTS - 1])
    first.release()
    second.release()
  })

  it('is refused with a reason when there is none', async () => {
    await assert.rejects(holdFreeSlot(withFree([]), new Set()), { code: 'NO_FREE_SLOT' })
  })

  it('is none that a run of this tree has', async () => {
    await assert.rejects(holdFreeSlot(withFree([3]), new Set([3])), { code: 'NO_FREE_SLOT' })
  })
})
