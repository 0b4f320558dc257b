/** The page on which a person logs in with a wallet: static, without inline script, loading nothing but its own. Pure. */
import type { Callback } from '../auth/callback.ts'
import { pageHeaders } from './headers.ts'
import { html } from './html.ts'

export const LOGIN_SCRIPT_PATH = '/v1/auth/login.js'
export const LOGIN_STYLE_PATH = '/v1/auth/login.css'

/** Nothing but this gateway's own files run, and a form goes to the callback only. */
export function loginHeaders(callback: Callback): Record<string, string> {
  const sources = ["style-src 'self'", "script-src 'self'", "connect-src 'self'"]
  const formAction = callback.by === 'post' ? new URL(callback.url).origin : "'none'"
  return { ...pageHeaders(sources, { formAction, cacheControl: 'no-store' }), 'X-Frame-Options': 'DENY' }
}

export interface LoginPage {
  callback: Callback
  namespace: string
  /** Given back as it came, so that the callback knows its own request. */
  state: string
}

export function loginPage({ callback, namespace, state }: LoginPage): string {
  const { origin } = new URL(callback.url)
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Warren: log in</title>
<link rel="stylesheet" href="${LOGIN_STYLE_PATH}">
<script src="${LOGIN_SCRIPT_PATH}" defer></script>
</head>
<body data-callback="${callback.url}" data-by="${callback.by}" data-state="${state}">
<main>
<h1>Log in with your wallet</h1>
<p>You sign one random text. It moves no money, and this page never sees your wallet's key.</p>
<form id="login">
<label for="namespace">Namespace</label>
<input id="namespace" value="${namespace}" required maxlength="64" pattern="[a-zA-Z0-9][a-zA-Z0-9_\\-]{0,63}" autocomplete="off" spellcheck="false">
<p class="hint">Letters, digits, _ and -. A name nobody has becomes yours.</p>
<button id="connect" type="submit">Connect wallet and sign</button>
</form>
<p>An API key of this namespace then goes to <strong>${origin}</strong>.</p>
<p id="status" role="status"></p>
<noscript><p>This page needs its script, because a wallet can only be asked by one.</p></noscript>
</main>
</body>
</html>
`.text
}

export const LOGIN_STYLE = `
:root { font: 16px/1.5 system-ui, sans-serif; color-scheme: light dark; }
body { margin: 0; display: grid; min-height: 100vh; place-items: center; }
main { width: min(28rem, 100% - 2rem); }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; }
form { display: grid; gap: .25rem; margin: 1rem 0; }
label { font-weight: 600; }
input, button { font: inherit; padding: .5rem .75rem; border-radius: .375rem; border: 1px solid GrayText; }
button { margin-top: .5rem; border: 0; background: #1f5fbf; color: #fff; cursor: pointer; }
button:disabled { opacity: .6; cursor: default; }
:focus-visible { outline: 3px solid #f0a020; outline-offset: 2px; }
.hint { margin: 0; font-size: .875rem; }
#status { min-height: 1.5em; }
#status.bad { color: #c02020; }
@media (prefers-color-scheme: dark) { #status.bad { color: #ff9090; } }
`

export const LOGIN_SCRIPT = `
const { callback, by, state } = document.body.dataset
const form = document.getElementById('login')
const button = document.getElementById('connect')
const status = document.getElementById('status')

function say(text, bad) {
  status.textContent = text
  status.classList.toggle('bad', bad === true)
}

async function ask(path, body) {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body)
  })
  const found = await answer.json()
  if (!answer.ok) throw new Error(found.error)
  return found
}

function hex(text) {
  return '0x' + Array.from(new TextEncoder().encode(text), byte => byte.toString(16).padStart(2, '0')).join('')
}

function deliver(found) {
  const fields = { api_key: found.api_key, namespace: found.namespace, wallet: found.wallet, plan: found.plan }
  if (state !== '') fields.state = state
  if (by === 'fragment') {
    location.replace(callback + '#' + new URLSearchParams(fields))
    return
  }
  const carrier = document.createElement('form')
  carrier.method = 'post'
  carrier.action = callback
  carrier.hidden = true
  for (const [name, value] of Object.entries(fields)) {
    const input = document.createElement('input')
    input.type = 'hidden'
    input.name = name
    input.value = value
    carrier.append(input)
  }
  document.body.append(carrier)
  carrier.submit()
}

form.addEventListener('submit', async event => {
  event.preventDefault()
  if (window.ethereum === undefined) {
    say('There is no wallet in this browser. Install one, then load this page again.', true)
    return
  }
  button.disabled = true
  try {
    say('Asking the wallet for an account …')
    const [wallet] = await window.ethereum.request({ method: 'eth_requestAccounts' })
    const namespace = document.getElementById('namespace').value
    const { nonce } = await ask('/v1/auth/challenge', { wallet, namespace, purpose: 'api_key' })
    say('Waiting for your signature …')
    const signature = await window.ethereum.request({ method: 'personal_sign', params: [hex(nonce), wallet] })
    const found = await ask('/v1/auth/api-key', { wallet, nonce, signature, namespace })
    say('Logged in. You may close this page.')
    deliver(found)
  } catch (error) {
    say('That did not work: ' + (error && error.message ? error.message : 'the wallet refused'), true)
    button.disabled = false
  }
})
`
