/** Every kind of IPv6 a network can have is what it claims, beside the IPv4 it keeps or without any. */
import type { Topology } from '../netem/index.ts'
import { nodeProgram } from './harness/probe-programs.ts'
import { scenario } from './harness/scenario.ts'

const topology: Topology = {
  name: 'ipv6',
  description: 'A dual-stack home, an open site, a home behind the home, and a mobile network with IPv6 only.',
  networks: {
    internet: { ipv6: 'dual' },
    home: { behind: 'internet', nat: 'port-restricted', ipv6: 'dual' },
    open: { behind: 'internet', nat: 'symmetric', ipv6: 'dual', ipv6Filter: 'none' },
    mobile: { behind: 'internet', nat: 'carrier', ipv6: 'only' },
    'mobile-random': { behind: 'internet', nat: 'symmetric', ipv6: 'only' },
    inner: { behind: 'home', nat: 'port-preserving', ipv6: 'dual' }
  },
  hosts: {
    east: { role: 'client', on: 'internet' },
    west: { role: 'client', on: 'internet' },
    ...Object.fromEntries(
      ['home', 'open', 'mobile', 'mobile-random', 'inner'].map(on => [`in-${on}`, { role: 'client', on }] as const)
    )
  }
}

export default scenario({
  about: 'networks with dual stack and with IPv6 alone (NAT64, DNS64) are what they claim',
  topology,
  needs: ['nat', 'exec', 'nat64'],
  withinMs: 60_000,

  async story({ testnet, check }) {
    // Nothing gets here unless the probers agreed with every claim; what is left is that nothing was left out.
    const edges = testnet.plan.routers.flatMap(({ ipv6 }) => ipv6 ?? [])
    check.equal('five networks with IPv6 were looked at', edges.length, 5)
    const targets = ['east', 'west'].map(name => testnet.host(name).planned.attachment.address)
    const { stdout } = await testnet.host('in-mobile').exec(nodeProgram(reachedOverIpv4, targets))
    check.equal('a host with IPv6 only reaches nobody over IPv4', JSON.parse(stdout), [])
  }
})

/** Print which addresses answer a TCP connection, a refusal included. */
function reachedOverIpv4(addresses: string[]): void {
  const port = 46_021
  const withinMs = 1500
  const reaches = (host: string): Promise<boolean> =>
    new Promise(resolve => {
      const socket = process.getBuiltinModule('node:net').connect({ host, port, timeout: withinMs })
      const end = (answer: boolean): void => {
        socket.destroy()
        resolve(answer)
      }
      socket.on('connect', () => end(true))
      socket.on('timeout', () => end(false))
      socket.on('error', (error: NodeJS.ErrnoException) => end(error.code === 'ECONNREFUSED'))
    })
  Promise.all(addresses.map(reaches)).then(answers => {
    console.log(JSON.stringify(addresses.filter((_, index) => answers[index])))
  })
}
