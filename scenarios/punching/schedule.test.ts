import { deepEqual, equal, ok, rejects } from 'node:assert/strict'
import { setImmediate as turn } from 'node:timers/promises'
import { playAll } from './schedule.ts'

describe('the schedule of runs', () => {
  it('plays every job once, so many at once, and none at a host that plays already', async () => {
    const busy = new Set<string>()
    const played: number[] = []
    let most = 0
    const jobs = Array.from({ length: 60 }, (_, index) => {
      const hosts: [string, string] = [`a${index % 4}`, `b${index % 3}`]
      return {
        hosts,
        async play() {
          ok(
            hosts.every(host => !busy.has(host)),
            'two runs at one host'
          )
          for (const host of hosts) busy.add(host)
          most = Math.max(most, busy.size / 2)
          await turn()
          for (const host of hosts) busy.delete(host)
          played.push(index)
        }
      }
    })
    await playAll(jobs, 3)
    deepEqual(
      played.toSorted((a, b) => a - b),
      jobs.map((_, index) => index)
    )
    equal(most, 3)
  })

  it('lets what plays end before it rejects, and begins nothing more', async () => {
    let ended = 0
    const job = (fails: boolean, host: string) => ({
      hosts: [host, `${host}'`] as [string, string],
      async play() {
        await turn()
        if (fails) throw new Error('lost')
        ended++
      }
    })
    await rejects(playAll([job(true, 'a'), job(false, 'b'), job(false, 'a')], 2), /lost/)
    equal(ended, 1)
  })

  it('does nothing with nothing', async () => await playAll([], 4))
})
