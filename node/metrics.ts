/** Metrics: one Prometheus registry a process, with Node's default metrics; served as text at /metrics. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** Metrics of one process. */
export interface Metrics {
  /** prom-client's registry, for code that brings metrics of its own. */
  readonly registry: Registry
  /** Value of the Content-Type header. */
  readonly contentType: string
  /** `read` is asked at every scrape for the whole count; without it, count yourself. */
  counter: <L extends string = never>(
    name: string,
    help: string,
    labels?: readonly L[],
    read?: () => number
  ) => Counter<L>
  /** `read` is asked at every scrape; without it, set the gauge yourself. */
  gauge: <L extends string = never>(name: string, help: string, labels?: readonly L[], read?: () => number) => Gauge<L>
  /** Seconds, as Prometheus has it. */
  histogram: <L extends string = never>(
    name: string,
    help: string,
    labels?: readonly L[],
    buckets?: number[]
  ) => Histogram<L>
  /** Prometheus text. */
  text: () => Promise<string>
}

/** Metrics named as given (prefix them `warren_`), all labelled with `role`. */
export function createMetrics(role: string): Metrics {
  const registry = new Registry()
  registry.setDefaultLabels({ role })
  collectDefaultMetrics({ register: registry })
  const registers = [registry]
  return {
    registry,
    contentType: registry.contentType,
    counter: (name, help, labelNames = [], read) =>
      new Counter({
        name,
        help,
        labelNames,
        registers,
        ...(read
          ? {
              collect() {
                this.reset()
                this.inc(read())
              }
            }
          : {})
      }),
    gauge: (name, help, labelNames = [], read) =>
      new Gauge({
        name,
        help,
        labelNames,
        registers,
        ...(read
          ? {
              collect() {
                this.set(read())
              }
            }
          : {})
      }),
    histogram: (name, help, labelNames = [], buckets) =>
      new Histogram({ name, help, labelNames, registers, ...(buckets ? { buckets } : {}) }),
    text: () => registry.metrics()
  }
}
