/**
 * Door of the scenarios' harness: bring a testnet up from a topology, look at it, take it down. For benchmarks and
 * tools. It is not a library of the product: nothing under node, relay, gateway or client may know of it.
 */
export { removeRun } from './harness/down.ts'
export { type Endpoints, endpointsOf } from './harness/endpoints.ts'
export { nodeProgram } from './harness/probe-programs.ts'
export { silentProgress } from './harness/progress.ts'
export { proveNats } from './harness/prove-nats.ts'
export { controlPunch, type PunchOptions } from './harness/punch.ts'
export type { PunchPair, PunchResult } from './harness/punch-programs.ts'
export { readiness, waitReady } from './harness/ready.ts'
export type * from './harness/runtime.ts'
export { type Choice, chooseRuntime, runtimeNamed } from './harness/runtimes.ts'
export { pourTcp, sinkTcp, type TcpResult } from './harness/tcp-programs.ts'
export { bringUp, type Standing, type UpRequest } from './harness/up.ts'
