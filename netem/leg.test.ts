import { deepEqual, equal, match, ok, throws } from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { capabilities } from './capabilities.ts'
import { run } from './exec.ts'
import { LegConfigInvalidError, readLegConfig } from './leg-config.ts'
import { behaviourOf, NAT_KINDS } from './nat-kinds.ts'

const ROUTER = {
  NAT_KIND: 'symmetric',
  NAT_INSIDE: '10.40.1.2/24',
  NAT_GATEWAY: '10.40.1.254/24',
  NAT_OUTSIDE: '11.0.1.1/16',
  LINKS: JSON.stringify([{ address: '11.0.1.1', up: { delayMs: 5 }, down: null }])
}
/** Interfaces as Docker gives them: named by nobody, with a default route of its choice. */
const DOCKER_LIKE = `
  ip link set lo up
  ip link add eth1 type veth peer name far1
  ip link add eth0 type veth peer name far0
  ip address add 10.40.1.2/24 dev eth1
  ip address add 11.0.1.1/16 dev eth0
  for i in eth0 eth1 far0 far1; do ip link set $i up; done
  ip route add default via 11.0.255.254
  exec "$0" "$@"`

async function eventually(what: string, fact: () => Promise<boolean> | boolean, deadlineMs = 20_000): Promise<void> {
  const endMs = performance.now() + deadlineMs
  while (!(await fact())) {
    if (performance.now() > endMs) throw new Error(`not within ${deadlineMs} ms: ${what}`)
    await delay(20)
  }
}

describe('readLegConfig', () => {
  it('reads a router and a host', () => {
    const config = readLegConfig({ ...ROUTER, NAT_UPLINK: '10.40.2.254' })
    deepEqual(config.router?.inside, { address: '10.40.1.2', prefixLength: 24 })
    equal(config.router?.uplink, '10.40.2.254')
    deepEqual(config.links, [{ address: '11.0.1.1', up: { delayMs: 5 }, down: null }])
    equal(readLegConfig({ LINKS: '[]' }).router, null)
    equal(config.router?.portMapping, null)
    const mapping = { PORT_MAPPING: 'upnp,pcp', PORT_MAPPING_FAULT: 'short-lease', PORT_MAPPING_LEASE_S: '3' }
    deepEqual(readLegConfig({ ...ROUTER, ...mapping }).router?.portMapping, {
      protocols: ['upnp', 'pcp'],
      fault: 'short-lease',
      leaseS: 3,
      saysAddress: null
    })
  })

  it('reads every kind of NAT without another word', () => {
    for (const kind of NAT_KINDS) {
      deepEqual(readLegConfig({ ...ROUTER, NAT_KIND: kind }).router?.behaviour, behaviourOf(kind))
    }
  })

  it('reports every problem at once', () => {
    const bad = {
      NAT_KIND: 'conical',
      NAT_INSIDE: '10.40.1.2',
      LINKS: '[{"address":"x","up":{"delay":1}}]',
      ROUTES: '{'
    }
    throws(
      () => readLegConfig(bad),
      (error: unknown) => {
        ok(error instanceof LegConfigInvalidError)
        for (const name of ['NAT_KIND', 'NAT_INSIDE', 'LINKS.0.address', 'LINKS.0.up', 'ROUTES']) {
          ok(error.message.includes(name), `${name} is missing in ${error.message}`)
        }
        ok(error.message.includes("'conical' is not one of: none, firewall, "), error.message)
        return true
      }
    )
    throws(() => readLegConfig({ NAT_KIND: 'symmetric' }), /NAT_OUTSIDE/)
    throws(() => readLegConfig({ ...ROUTER, PORT_MAPPING_FAULT: 'refuse' }), /goes with PORT_MAPPING/)
    throws(
      () => readLegConfig({ ...ROUTER, PORT_MAPPING: 'upnp', PORT_MAPPING_FAULT: 'lying-address' }),
      /PORT_MAPPING_SAYS/
    )
    throws(
      () => readLegConfig({ ...ROUTER, NAT_KIND: 'none', PORT_MAPPING: 'stun' }),
      /none of upnp[\s\S]*translates no ports/
    )
  })
})

describe('a leg', function () {
  this.timeout(60_000)
  let folder: string
  let leg: ChildProcess
  let readyFile: string
  let log = ''

  before(async function () {
    const missing = (await capabilities()).filter(
      ({ what, has }) => !has && ['user-namespaces', 'iproute2', 'nftables', 'nat', 'nfqueue'].includes(what)
    )
    if (missing.length > 0) {
      console.log(
        missing.map(({ what, why, fix }) => `    skipped, no ${what}: ${why}; mend it with: ${fix}`).join('\n')
      )
      this.skip()
    }
    folder = await mkdtemp(join(tmpdir(), 'warren-leg-'))
    readyFile = join(folder, 'ready')
    const script = fileURLToPath(new URL('leg.ts', import.meta.url))
    leg = spawn(
      'unshare',
      [
        '--user',
        '--map-root-user',
        '--net',
        'sh',
        '-ec',
        DOCKER_LIKE,
        process.execPath,
        '--disable-warning=ExperimentalWarning',
        script
      ],
      {
        env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin`, ...ROUTER, LEG_READY_FILE: readyFile },
        stdio: ['ignore', 'ignore', 'pipe']
      }
    )
    leg.stderr!.on('data', (chunk: Buffer) => {
      log += chunk.toString('utf8')
    })
    await eventually('ready', () => {
      if (leg.exitCode !== null) throw new Error(`the leg ended: ${log}`)
      return existsSync(readyFile)
    })
  })

  after(async () => {
    if (leg?.exitCode === null) leg.kill('SIGKILL')
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  })

  const inside = (...argv: string[]) =>
    run([
      'nsenter',
      `--user=/proc/${leg.pid}/ns/user`,
      `--net=/proc/${leg.pid}/ns/net`,
      '--preserve-credentials',
      ...argv
    ])

  it('is a NAT with the gateway address and without a way out', async () => {
    match((await inside('nft', 'list', 'ruleset')).stdout, /snat to \S+:1024-65535 fully-random/)
    match((await inside('ip', 'address', 'show', 'eth1')).stdout, /10\.40\.1\.254/)
    equal((await inside('ip', 'route', 'show', 'default')).stdout, '')
    equal((await inside('cat', '/proc/sys/net/ipv4/ip_forward')).stdout.trim(), '1')
  })

  it('takes its ready file away when its shaper dies, and stays', async () => {
    const { means } = JSON.parse(await readFile(readyFile, 'utf8')) as { means: string }
    if (means !== 'nfqueue') return
    const children = await readFile(`/proc/${leg.pid}/task/${leg.pid}/children`, 'utf8')
    process.kill(Number(children.trim().split(' ').at(-1)), 'SIGKILL')
    await eventually('the ready file is gone', () => !existsSync(readyFile))
    equal(leg.exitCode, null)
    match(log, /SHAPER_DIED/)
  })

  it('ends at SIGTERM with 0', async () => {
    leg.kill('SIGTERM')
    const [exitCode] = await once(leg, 'exit')
    equal(exitCode, 0, log)
  })
})
