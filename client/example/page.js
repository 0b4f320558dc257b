/** What the example page does. Text only is written into it, never markup: names and types are strangers' words. */
import { createBrowserClient } from './warren.js'

/** The page keeps what it retrieves in memory. */
const MAX_BYTES = 64 * 1024 * 1024
const NODES_EVERY_MS = 2000

const at = id => document.getElementById(id)
const say = (id, text, tone = '') => {
  at(id).textContent = text
  at(id).className = tone
}
const sayError = (id, error) => say(id, `${error.code ?? error.name}: ${error.message}`, 'bad')

let client = null
let names = new Map()
let fileUrl = null

at('relay').value = new URLSearchParams(location.search).get('relay') ?? 'http://127.0.0.1:9090/'

/** Runs `work` with the form's button out of reach, and says on the page what went wrong. */
const onSubmit = (form, status, work) =>
  at(form).addEventListener('submit', async event => {
    event.preventDefault()
    const button = at(form).querySelector('button')
    button.disabled = true
    try {
      await work()
    } catch (error) {
      sayError(status, error)
    } finally {
      button.disabled = false
    }
  })

const row = cells => {
  const made = document.createElement('tr')
  made.append(
    ...cells.map(text => {
      const cell = document.createElement('td')
      cell.textContent = text
      return cell
    })
  )
  return made
}

const look = async () => {
  const nodes = await client.nodes()
  names = new Map(nodes.map(({ peerId, nodeId }) => [peerId, nodeId]))
  at('nodes').replaceChildren(
    ...nodes.map(({ nodeId, peerId, path }) => row([nodeId, peerId, path ?? 'not connected']))
  )
  at('nodes').closest('table').hidden = nodes.length === 0
  say(
    'state',
    `Connected as ${client.peerId}. The relay knows ${nodes.length} ${nodes.length === 1 ? 'node' : 'nodes'}.`,
    'good'
  )
  for (const form of ['store', 'retrieve']) at(form).querySelector('button').disabled = nodes.length === 0
}

/** Looks again as long as this client is the page's. */
const watch = async mine => {
  while (client === mine) {
    await new Promise(resolve => setTimeout(resolve, NODES_EVERY_MS))
    if (client === mine) await look().catch(error => sayError('state', error))
  }
}

const holder = peerId => {
  const item = document.createElement('li')
  item.textContent = `${names.get(peerId) ?? 'a node'} (${peerId})`
  return item
}

onSubmit('connect', 'state', async () => {
  const text = at('relay').value.trim()
  say('state', 'Connecting…')
  await client?.close()
  client = null
  const mine = await createBrowserClient({ relays: text.startsWith('/') ? [text] : new URL(text) })
  client = mine
  await look()
  void watch(mine)
})

onSubmit('store', 'stored', async () => {
  const [file] = at('file').files
  say('stored', `Storing ${file.name}…`)
  at('where').replaceChildren()
  const { cid, sizeBytes, peerId, replicas } = await client.store(file)
  say('stored', `${cid}, ${sizeBytes} bytes, is on ${replicas.length || 'unnamed'} disks:`, 'good')
  at('where').replaceChildren(...(replicas.length > 0 ? replicas : [peerId]).map(holder))
  at('cid').value = cid
})

onSubmit('retrieve', 'retrieved', async () => {
  say('retrieved', 'Retrieving…')
  at('save').replaceChildren()
  if (fileUrl !== null) URL.revokeObjectURL(fileUrl)
  const { cid, bytes, sizeBytes, mimeType } = await client.retrieve(at('cid').value.trim(), { maxBytes: MAX_BYTES })
  say('retrieved', `Verified: ${sizeBytes} bytes hash to ${cid}. Whoever stored them calls them ${mimeType}.`, 'good')
  // Not opened here: a blob may be a page of a stranger.
  fileUrl = URL.createObjectURL(new Blob([bytes], { type: 'application/octet-stream' }))
  const link = document.createElement('a')
  link.href = fileUrl
  link.download = cid
  link.textContent = 'Save it'
  at('save').append(link)
})

if (new URLSearchParams(location.search).has('relay')) at('connect').requestSubmit()
