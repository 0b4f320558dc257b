import { equal, match, notEqual } from 'node:assert/strict'
import { privateKeyFromProtobuf } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { accountOf, apiKeyOf, identityOf, registryOf } from './keys.ts'

describe('keys', () => {
  it('makes identities that libp2p reads as the peer id it names', () => {
    for (const host of ['alice', 'bob', 'node-001']) {
      const identity = identityOf('seed', host)
      const key = privateKeyFromProtobuf(Buffer.from(identity.privateKey, 'base64'))
      equal(key.type, 'Ed25519')
      equal(peerIdFromPrivateKey(key).toString(), identity.peerId)
    }
    notEqual(identityOf('seed', 'alice').peerId, identityOf('seed', 'bob').peerId)
  })

  it('names the first contract of an account', () => {
    // The first account of Hardhat's and Anvil's well-known mnemonic and its first contract.
    const deployer = { address: '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266', privateKey: '0x' } as const
    equal(registryOf(deployer), '0x5FbDB2315678afecb367f032d93F642f64180aa3')
  })

  it('makes accounts and API keys of the shape others expect', () => {
    match(accountOf('seed', 'alice').address, /^0x[0-9a-fA-F]{40}$/)
    match(accountOf('seed', 'alice').privateKey, /^0x[0-9a-f]{64}$/)
    match(apiKeyOf('seed'), /^ak_[A-Za-z0-9_-]{43}$/)
  })
})
