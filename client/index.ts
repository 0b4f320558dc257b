/** The door of the client room: the SDK. */
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
