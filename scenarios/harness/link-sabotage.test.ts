import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { Topology } from '../../netem/index.ts'
import { probeNetns } from './netns-probe.ts'
import { silentProgress } from './progress.ts'
import type { Report } from './report.ts'
import { runScenario } from './run.ts'
import type { Router, Testnet } from './runtime.ts'
import type { Story } from './scenario.ts'
import { exitCodeOf } from './verdict.ts'

const TIMEOUT_MS = 120_000
const NOTICED_WITHIN_MS = 30_000
const LOOK_EVERY_MS = 50
/** As root of the router's network, whose processes are those of the whole lab. */
const SHAPER = "grep -l '[s]haper-worker' /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3"

const topology: Topology = {
  name: 'broken-link',
  description: 'One impaired access line to be broken, and two hosts on the internet to look at it.',
  networks: {
    internet: {},
    home: { behind: 'internet', nat: 'port-preserving', link: { up: { delayMs: 20 }, down: { lossPct: 10 } } }
  },
  hosts: {
    east: { role: 'client', on: 'internet' },
    west: { role: 'client', on: 'internet' },
    inside: { role: 'client', on: 'home' }
  }
}

describe('a run whose links are not what they claim', function () {
  this.timeout(TIMEOUT_MS)
  let reportsFolder: string

  before(async function () {
    const { missing, means } = await probeNetns()
    if (missing.length > 0 || means !== 'nfqueue') {
      console.log(
        missing.length > 0
          ? missing.map(({ what, why, fix }) => `    skipped, no ${what}: ${why}; ${fix}`).join('\n')
          : '    skipped: this kernel has sch_netem, so there is no shaper to break'
      )
      this.skip()
    }
    reportsFolder = await mkdtemp(join(tmpdir(), 'warren-sabotage-'))
  })

  after(async () => {
    if (reportsFolder !== undefined) await rm(reportsFolder, { recursive: true, force: true })
  })

  const said = async (router: Router, argv: string[]): Promise<string> => {
    const { code, stdout, stderr } = await router.exec(argv)
    equal(code, 0, stderr)
    return stdout.trim()
  }

  async function run(
    break_: { beforeProof?: (router: Router) => Promise<unknown>; story?: (router: Router) => Promise<unknown> } = {}
  ): Promise<{ report: Report; played: boolean }> {
    let played = false
    const routerOf = (testnet: Testnet): Router => testnet.router('home-nat')
    const report = await runScenario(
      {
        name: 'broken-link',
        about: 'a story whose lab breaks',
        topology,
        needs: ['delay', 'loss', 'exec'],
        withinMs: TIMEOUT_MS,
        async story({ check, testnet }: Story) {
          played = true
          await break_.story?.(routerOf(testnet))
          const deadline = performance.now() + NOTICED_WITHIN_MS
          while (break_.story !== undefined && (await testnet.status()).invalid.length === 0) {
            ok(performance.now() < deadline, 'nobody noticed')
            await delay(LOOK_EVERY_MS)
          }
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
        beforeProof: async testnet => void (await break_.beforeProof?.(routerOf(testnet)))
      }
    )
    return { report, played }
  }
  const linkRows = ({ rows }: Report) => rows.filter(row => 'link' in row)

  it('passes while rules and shaper are whole', async () => {
    const { report, played } = await run()
    deepEqual([report.verdict, played], ['pass', true], JSON.stringify(report.rows))
    deepEqual(
      linkRows(report).map(({ link, what, ok }) => [link, what, ok]),
      [
        ['inside up', 'delay', true],
        ['inside down', 'loss', true]
      ]
    )
  })

  it('is invalid when an impairment does nothing, and says which', async () => {
    const { report, played } = await run({ beforeProof: router => said(router, ['iptables', '-t', 'raw', '-F']) })
    deepEqual([report.verdict, exitCodeOf(report.verdict), played], ['invalid', 2, false])
    deepEqual(
      linkRows(report).map(({ link, what, asked, ok }) => [link, what, asked, ok]),
      [
        ['inside up', 'delay', '20 ms', false],
        ['inside down', 'loss', '10 %', false]
      ]
    )
  })

  for (const [what, signal] of [
    ['is killed', 'KILL'],
    ['hangs', 'STOP']
  ] as const) {
    it(`is invalid when the shaper ${what} during the story`, async () => {
      const { report, played } = await run({
        story: async router => {
          const pid = await said(router, ['sh', '-c', SHAPER])
          match(pid, /^\d+$/)
          await said(router, ['kill', `-${signal}`, pid])
        }
      })
      deepEqual([report.verdict, played], ['invalid', true], JSON.stringify([report.checks, report.rows]))
      match(String(report.rows.find(row => row.what === 'lab')?.why), /^the link shaper /)
    })
  }
})
