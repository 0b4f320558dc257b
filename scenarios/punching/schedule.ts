/** Plays runs side by side, so many at once, never two at one host: a host is one process on a machine of few cores. */

export interface Job {
  hosts: [string, string]
  play: () => Promise<void>
}

/** Jobs begin in their order where their hosts are free. Rejects with the first job's error; the rest ends first. */
export async function playAll(jobs: readonly Job[], atOnce: number): Promise<void> {
  const waiting = [...jobs]
  const busy = new Set<string>()
  const playing = new Set<Promise<void>>()
  const failures: unknown[] = []
  while (waiting.length > 0 || playing.size > 0) {
    const next = waiting.findIndex(({ hosts }) => hosts.every(host => !busy.has(host)))
    if (next >= 0 && playing.size < atOnce && failures.length === 0) {
      const [job] = waiting.splice(next, 1) as [Job]
      for (const host of job.hosts) busy.add(host)
      const played = job
        .play()
        .catch(error => void failures.push(error))
        .finally(() => {
          for (const host of job.hosts) busy.delete(host)
          playing.delete(played)
        })
      playing.add(played)
    } else if (playing.size > 0) await Promise.race(playing)
    else break
  }
  if (failures.length > 0) throw failures[0]
}
