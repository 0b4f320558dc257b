import { deepEqual, equal, match, ok } from 'node:assert/strict'
import { fileURLToPath } from 'node:url'
import { capabilities } from './capabilities.ts'
import { CAPTURE_FILE_MB, CAPTURE_FILES, CAPTURE_SNAP_BYTES, captureArgv, captureOwners } from './capture.ts'
import { run } from './exec.ts'
import { type CaptureFacts, FEW } from './fixtures/capture-facts.ts'
import { plan } from './plan.ts'
import { topologyNamed } from './topologies/index.ts'

/** Recording needs root proper. */
const INSIDE = ['unshare', '--net', '--mount', '--pid', '--fork', '--mount-proc', '--kill-child']
/** Room for a busy machine; a few seconds do. */
const TIMEOUT_MS = 150_000
/** tcpdump looks at a file's size after it wrote a packet. */
const SLACK = 1.01

describe('captureOwners', () => {
  const owners = captureOwners(plan(topologyNamed('nat-pair'), 'capture'))

  it('has every interface of every router and host', () => {
    const names = owners.map(({ owner, interfaces }) => `${owner}: ${interfaces.map(({ name }) => name).join(' ')}`)
    deepEqual(names, [
      'home-a-nat: inside outside',
      'home-b-nat: inside outside',
      ...['relay', 'gateway', 'chain', 'alice', 'bob'].map(name => `${name}: eth0`)
    ])
  })

  it("is asked for a router's interfaces by the network they face, whatever they are called", () => {
    const [, , script = ''] = captureArgv(owners[0]!, '/x', 'ring')
    match(script, /address show to 10\.40\.1\.0\/24/)
    match(script, /address show to 11\.0\.0\.0\/16/)
    match(script, /'not host 11\.0\.0\.1'/)
  })
})

describe('a recording', function () {
  this.timeout(TIMEOUT_MS)
  let facts: CaptureFacts

  before(async function () {
    const missing = (await capabilities()).filter(({ what, has }) => !has && ['iproute2', 'captures'].includes(what))
    if (missing.length > 0) {
      console.log(
        missing.map(({ what, why, fix }) => `    skipped, no ${what}: ${why}; mend it with: ${fix}`).join('\n')
      )
      this.skip()
    }
    const script = fileURLToPath(new URL('fixtures/capture-facts.ts', import.meta.url))
    const { stdout } = await run([...INSIDE, process.execPath, script], { timeoutMs: TIMEOUT_MS })
    facts = JSON.parse(stdout) as CaptureFacts
  })

  it('has every packet on disk while it runs, so that a kill loses none', () => equal(facts.written, FEW))

  it('leaves out what is none of the lab’s, and all but the beginning of each packet', () => {
    equal(facts.ignored, 0)
    equal(facts.longestBytes, CAPTURE_SNAP_BYTES)
  })

  it('gives each life of a network a file of its own', () => {
    deepEqual(facts.secondLife, ['host-lo-2.pcap0', 'host-lo.pcap0'])
  })

  it('is a ring of limited size', () => {
    equal(facts.ringFiles, CAPTURE_FILES)
    ok(facts.ringBytes <= CAPTURE_FILES * CAPTURE_FILE_MB * 1e6 * SLACK, `${facts.ringBytes} bytes`)
  })

  it('ends by itself when only a look was asked for', () => ok(facts.looked >= FEW))
})
