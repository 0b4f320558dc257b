/** The door of the client room: the SDK, and the parts of it that punch holes in somebody else's libp2p. */
export { type Dcutr, type DcutrInit, dcutr, type PunchReport, punchingQuic, punchingTcp } from '../node/index.ts'
export { type Client, type ClientNetwork, type ClientOptions, createClient, type NodeView } from './client.ts'
export {
  BlobMissingError,
  ClientError,
  GatewayAnswerError,
  GatewayUnreachableError,
  NoNodeError,
  SizeMismatchError
} from './errors.ts'
export { createGatewayClient, type GatewayClient, type GatewayClientOptions, type Stored } from './gateway.ts'
export type { ClientStorage, GetOptions, PutOptions } from './storage.ts'
