/** How long two hosts behind NATs of their own take on netns until both NATs are proved and a raw puncher has joined them. */
import { fileURLToPath } from 'node:url'
import type { Topology } from '../netem/index.ts'
import { bringUp, controlPunch, proveNats, removeRun, silentProgress } from '../scenarios/index.ts'
import { SEED, seconds } from './lab.ts'
import type { Bench } from './main.ts'
import { wallMs } from './processes.ts'
import { median, type Row, row } from './report.ts'

const REPETITIONS = 5
const TARGET_S = 5

const topology: Topology = {
  name: 'bare-nat-pair',
  description: 'Two hosts behind NATs of their own, and two on the internet to look at them.',
  networks: {
    internet: {},
    'home-a': { behind: 'internet', nat: 'port-preserving' },
    'home-b': { behind: 'internet', nat: 'full-cone' }
  },
  hosts: {
    east: { role: 'client', on: 'internet' },
    west: { role: 'client', on: 'internet' },
    alice: { role: 'client', on: 'home-a' },
    bob: { role: 'client', on: 'home-b' }
  }
}

const bench: Bench = async say => {
  await wallMs([process.execPath, fileURLToPath(new URL('../compose/build.ts', import.meta.url))])
  const parts: Record<'up' | 'proved' | 'punched' | 'in all', number[]> = {
    up: [],
    proved: [],
    punched: [],
    'in all': []
  }
  const { signal } = new AbortController()
  for (let round = 0; round < REPETITIONS; round++) {
    const begun = performance.now()
    const { testnet, record } = await bringUp({
      topology,
      seed: SEED,
      runtime: 'netns',
      bound: true,
      progress: silentProgress,
      signal
    })
    try {
      const up = performance.now()
      const rows = await proveNats(testnet, signal)
      const wrong = rows.filter(({ proved }) => !proved)
      if (wrong.length > 0) throw new Error(`not what they claim: ${JSON.stringify(wrong)}`)
      const proved = performance.now()
      const pair = { a: 'alice', b: 'bob' }
      const punches = await controlPunch(
        testnet,
        [
          { ...pair, protocol: 'udp' },
          { ...pair, protocol: 'tcp' }
        ],
        { signal }
      )
      if (punches.some(({ tookMs }) => tookMs === null)) throw new Error(`not punched: ${JSON.stringify(punches)}`)
      const end = performance.now()
      const times = { up: up - begun, proved: proved - up, punched: end - proved, 'in all': end - begun }
      for (const [name, ms] of Object.entries(times)) parts[name as keyof typeof parts].push(ms)
      say(
        Object.entries(times)
          .map(([name, ms]) => `${name} ${seconds(ms)} s`)
          .join(', ')
      )
    } finally {
      await removeRun(record)
    }
  }
  return Object.entries(parts).map(([name, times]): Row => {
    const what = `a NAT pair on netns, ${name === 'in all' ? 'up, proved and punched' : name}`
    const gate = name === 'in all' ? { target: TARGET_S } : {}
    return row({ what, value: median(times) / 1000, unit: 's', better: 'lower', ...gate })
  })
}

export default bench
