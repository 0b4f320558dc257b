import { deepEqual, equal, match } from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { NAT_TABLE, type NatKind, natRuleset, type Topology } from '../../netem/index.ts'
import { netnsRuntime } from './netns-runtime.ts'
import { silentProgress } from './progress.ts'
import type { Report } from './report.ts'
import { runScenario } from './run.ts'
import type { Testnet } from './runtime.ts'
import type { Story } from './scenario.ts'
import { exitCodeOf } from './verdict.ts'

const TIMEOUT_MS = 90_000

const topology = (nat: NatKind): Topology => ({
  name: 'broken-nat',
  description: 'One NAT to be broken, and two hosts on the internet to look at it.',
  networks: { internet: {}, home: { behind: 'internet', nat } },
  hosts: {
    east: { role: 'client', on: 'internet' },
    west: { role: 'client', on: 'internet' },
    inside: { role: 'client', on: 'home' }
  }
})

describe('a run whose router is not what it claims', function () {
  this.timeout(TIMEOUT_MS)
  let reportsFolder: string

  before(async function () {
    const { missing } = await netnsRuntime.probe()
    if (missing.length > 0) {
      console.log(missing.map(({ what, why, fix }) => `    skipped, no ${what}: ${why}; ${fix}`).join('\n'))
      this.skip()
    }
    reportsFolder = await mkdtemp(join(tmpdir(), 'warren-sabotage-'))
  })

  after(async () => {
    if (reportsFolder !== undefined) await rm(reportsFolder, { recursive: true, force: true })
  })

  async function run(
    nat: NatKind,
    rules: (testnet: Testnet) => string | null
  ): Promise<{ report: Report; played: boolean }> {
    let played = false
    const report = await runScenario(
      {
        name: 'broken-nat',
        about: 'a story that must not be told',
        topology: topology(nat),
        needs: ['nat', 'exec'],
        withinMs: TIMEOUT_MS,
        async story({ check }: Story) {
          played = true
          check.that('the story was told', true)
        }
      },
      {
        runtime: 'netns',
        seed: 'sabotage',
        depth: 'short',
        all: false,
        progress: silentProgress,
        signal: AbortSignal.timeout(TIMEOUT_MS),
        reportsFolder,
        async beforeProof(testnet) {
          const text = rules(testnet)
          if (text === null) return
          const { code, stderr } = await testnet.router('home-nat').exec(['nft', text])
          equal(code, 0, stderr)
        }
      }
    )
    return { report, played }
  }

  it('passes while the rules are whole', async () => {
    const { report, played } = await run('full-cone', () => null)
    deepEqual([report.verdict, played], ['pass', true])
  })

  it('is invalid when a chain is empty, and names the NAT with what it claims and what it is', async () => {
    const { report, played } = await run('full-cone', () => `flush chain ip ${NAT_TABLE} inwards`)
    deepEqual([report.verdict, exitCodeOf(report.verdict), played], ['invalid', 2, false])
    const [row] = report.rows
    deepEqual([row?.kind, row?.proved], ['full-cone (home)', false])
    match(String(row?.claimed), /filtering endpoint-independent.* hairpin/)
    match(String(row?.observed), /filtering address-and-port-dependent.*no hairpin/)
    match(await readFile(join(reportsFolder, 'broken-nat', 'netns', 'junit.xml'), 'utf8'), /full-cone \(home\)/)
  })

  it('is invalid when it has the rules of another kind', async () => {
    const { report, played } = await run('symmetric', ({ plan }) => {
      const router = plan.routers[0]!
      return natRuleset({
        behaviour: { ...router.behaviour, allocation: 'sequential' },
        insideInterface: 'inside',
        outsideInterface: 'outside',
        outsideAddress: router.outside.address,
        insideHost: null,
        portMapping: null
      })
    })
    deepEqual([report.verdict, played], ['invalid', false])
    match(String(report.rows[0]?.observed), /ports sequential/)
  })

  it('is invalid when it lets nobody out', async () => {
    const { report, played } = await run('port-preserving', () => `flush chain ip ${NAT_TABLE} translate`)
    deepEqual([report.verdict, played], ['invalid', false])
    match(String(report.rows[0]?.observed), /^nothing: no reflector answers/)
  })
})
