import { deepEqual, equal } from 'node:assert/strict'
import { comeAgain } from './come-again.ts'

const from = (...looks: number[][]): (() => Promise<number[]>) => {
  const left = [...looks]
  return async () => left.shift() ?? []
}

const forgets = async (): Promise<void> => undefined

describe('ports after a NAT forgot everything', () => {
  it('are the same when two looks agree, and no more looks are taken', async () => {
    deepEqual(await comeAgain(from([1, 2], [1, 2], [9, 9]), forgets, 2), {
      verdict: 'same',
      looks: [
        [1, 2],
        [1, 2]
      ]
    })
  })

  it('are the same though another flow held a computed port at the first look', async () => {
    equal((await comeAgain(from([21_115, 26_101], [21_115, 23_719], [21_115, 23_719]), forgets, 2)).verdict, 'same')
  })

  it('are other when no look is like one before', async () => {
    equal((await comeAgain(from([1, 2], [3, 4], [5, 6], [7, 8]), forgets, 2)).verdict, 'other')
  })

  it('are unknown when a look is incomplete', async () => {
    equal((await comeAgain(from([1], [1]), forgets, 2)).verdict, 'unknown')
    equal((await comeAgain(from([1, 2], [3], [3]), forgets, 2)).verdict, 'unknown')
  })

  it('are looked at only after the NAT was told to forget', async () => {
    const told: string[] = []
    await comeAgain(
      async () => [told.push('look')],
      async () => told.push('forget'),
      1
    )
    deepEqual(told.slice(0, 3), ['look', 'forget', 'look'])
  })
})
