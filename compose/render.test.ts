import assert from 'node:assert/strict'
import { parse } from 'yaml'
import { plan, TOPOLOGY_NAMES, type Topology, topologyNamed } from '../netem/index.ts'
import { stale } from './generate.ts'
import { type RenderOptions, renderCompose } from './render.ts'

interface Service {
  image: string
  user?: string
  read_only?: boolean
  cap_drop?: string[]
  cap_add?: string[]
  security_opt?: string[]
  privileged?: boolean
  network_mode?: string
  networks?: Record<string, { ipv4_address: string }>
  dns?: string[]
  ports?: string[]
  environment?: Record<string, string>
  volumes?: Array<{ type: string; source: string; read_only?: boolean }>
  mem_limit?: string
  pids_limit?: number
  healthcheck?: { interval: string }
  depends_on?: Record<string, { condition: string; restart?: boolean }>
  sysctls?: Record<string, string>
}

interface ComposeFile {
  name: string
  services: Record<string, Service>
  networks: Record<
    string,
    {
      internal?: boolean
      driver_opts: Record<string, string>
      ipam: { config: Array<{ subnet: string; aux_addresses: Record<string, string> }> }
    }
  >
  volumes: Record<string, unknown>
}

const readBack = (topology: Topology, options: RenderOptions = {}, slot = 0): ComposeFile =>
  parse(renderCompose(plan(topology, 'render', slot), options), { merge: true }) as ComposeFile

const impaired: Topology = {
  ...topologyNamed('lan'),
  name: 'impaired',
  hosts: {
    ...topologyNamed('lan').hosts,
    'node-1': { role: 'node', on: 'internet', link: { delayMs: 20 }, env: { ODD: 'a$b' } }
  }
}
const all = [...TOPOLOGY_NAMES.map(name => topologyNamed(name)), impaired]

describe('Compose files', () => {
  for (const topology of all) {
    describe(topology.name, () => {
      const planned = plan(topology, 'render')
      const file = readBack(topology)
      const products = planned.hosts.map(host => ({ host, service: file.services[host.name]! }))
      const others = Object.entries(file.services).filter(([name]) => !planned.hosts.some(host => host.name === name))

      it('give products no capability, a read-only root, another user than root, and limits', () => {
        for (const { service } of products) {
          assert.deepEqual(service.cap_drop, ['ALL'])
          assert.equal(service.cap_add, undefined)
          assert.equal(service.user, '1000:1000')
          assert.ok(service.mem_limit !== undefined && service.pids_limit !== undefined)
        }
        for (const service of Object.values(file.services)) {
          assert.equal(service.read_only, true)
          assert.equal(service.privileged, undefined)
          assert.notEqual(service.network_mode, 'host')
          assert.deepEqual(service.security_opt, ['no-new-privileges:true'])
          assert.ok(!(service.volumes ?? []).some(({ source }) => source.includes('docker.sock')))
        }
      })

      it('give legs NET_ADMIN and nothing else', () => {
        for (const [, service] of others) {
          assert.equal(service.image, 'warren/leg:dev')
          assert.deepEqual(service.cap_drop, ['ALL'])
          assert.deepEqual(service.cap_add, ['NET_ADMIN'])
          assert.equal(service.volumes, undefined)
        }
      })

      it("ask the lab for names, not Docker's way out", () => {
        const lab = new Set([
          ...planned.hosts.map(({ attachment }) => attachment.address),
          ...planned.routers.map(({ inside }) => inside.address)
        ])
        for (const [name, { dns, network_mode }] of Object.entries(file.services)) {
          if (network_mode !== undefined) continue
          assert.ok(dns?.length === 1 && lab.has(dns[0]!), name)
        }
      })

      it('publish one port a host, on loopback, and nothing else', () => {
        const published = Object.values(file.services).flatMap(({ ports }) => ports ?? [])
        assert.equal(published.length, planned.hosts.length)
        assert.deepEqual(
          published.map(port => port.split(':').slice(0, 2).join(':')).sort(),
          planned.hosts.map(({ controlPort }) => `127.0.0.1:${controlPort}`).sort()
        )
      })

      it('leave no network a way out', () => {
        for (const { name, defaultGateway, subnet } of planned.networks) {
          const network = file.networks[name]!
          assert.equal(network.internal, undefined)
          assert.equal(network.driver_opts['com.docker.network.bridge.enable_ip_masquerade'], 'false')
          assert.deepEqual(network.ipam.config[0]?.aux_addresses, { DefaultGatewayIPv4: defaultGateway })
          assert.equal(network.ipam.config[0]?.subnet, subnet)
          const trusted = network.driver_opts['com.docker.network.bridge.trusted_host_interfaces']?.split(':')
          assert.deepEqual(
            trusted,
            planned.networks.map(({ bridge }) => bridge)
          )
        }
      })

      it('look at health without being hot', () => {
        for (const { healthcheck } of Object.values(file.services))
          assert.ok(Number.parseInt(healthcheck?.interval ?? '0', 10) >= 5)
      })

      it('are the same for the same plan', () => {
        assert.equal(renderCompose(plan(topology, 'render')), renderCompose(plan(topology, 'render')))
      })
    })
  }

  it('put a host with a link of its own into the network of its leg', () => {
    const { services } = readBack(impaired)
    const host = services['node-1']!
    assert.equal(host.network_mode, 'service:node-1-leg')
    assert.equal(host.ports, undefined)
    assert.deepEqual(host.depends_on, { 'node-1-leg': { condition: 'service_started', restart: true } })
    const leg = services['node-1-leg']!
    assert.deepEqual(JSON.parse(leg.environment!.LINKS!), [
      { address: leg.networks!.internet!.ipv4_address, up: { delayMs: 20 }, down: { delayMs: 20 } }
    ])
    assert.equal(services['node-2-leg'], undefined)
  })

  it("keep a dollar sign from Compose's own reading", () => {
    assert.equal(readBack(impaired).services['node-1']!.environment!.ODD, 'a$$b')
  })

  it('name a run in every label, and tell runs from files used by hand', () => {
    const topology = topologyNamed('lan')
    assert.equal(readBack(topology).name, 'warren-0-lan')
    assert.equal(readBack(topology, {}, 2).name, 'warren-2-lan')
    const text = renderCompose(plan(topology, 'render'), { run: 'lan-1' })
    const file = parse(text, { merge: true }) as ComposeFile & {
      services: Record<string, { labels: Record<string, string> }>
    }
    assert.equal(file.name, 'warren-lan-1')
    const labelled = [file.services, file.networks, file.volumes].flatMap(group => Object.values(group))
    for (const each of labelled as Array<{ labels: Record<string, string> }>)
      assert.equal(each.labels['org.warren.run'], 'lan-1')
  })

  it('let a person choose the NAT kinds of nat-pair', () => {
    const { services } = readBack(topologyNamed('nat-pair'), { natVariables: { 'home-a-nat': 'NAT_A' } })
    assert.equal(services['home-a-nat']!.environment!.NAT_KIND, `\${NAT_A:-port-preserving}`)
    assert.equal(services['home-b-nat']!.environment!.NAT_KIND, 'symmetric')
  })

  it('that are committed are fresh (`make compose` writes them)', async () => {
    assert.deepEqual(await stale(), [])
  })
})
