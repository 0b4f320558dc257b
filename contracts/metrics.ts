import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

export interface ChainMetrics {
  readonly contentType: string
  /** The Prometheus text. */
  render(): Promise<string>
  countCall(method: string, failed: boolean): void
}

/** @param blockNumber number of the newest block, asked at each scrape; null while the chain starts */
export function createMetrics(blockNumber: () => Promise<number | null>): ChainMetrics {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const calls = new Counter({
    name: 'warren_chain_rpc_calls_total',
    help: 'JSON-RPC calls by method and outcome; refused methods are one label',
    labelNames: ['method', 'outcome'],
    registers: [registry]
  })
  new Gauge({
    name: 'warren_chain_block_number',
    help: 'Number of the newest block',
    registers: [registry],
    async collect() {
      this.set((await blockNumber()) ?? 0)
    }
  })
  return {
    contentType: registry.contentType,
    render: () => registry.metrics(),
    countCall: (method, failed) => calls.inc({ method, outcome: failed ? 'failed' : 'ok' })
  }
}
