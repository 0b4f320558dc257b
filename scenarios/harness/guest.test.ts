import assert from 'node:assert/strict'
import { guestArgv, wordOf } from './guest.ts'

describe('the guest', () => {
  const argv = guestArgv('/k/vmlinuz', '/tmp/initrd', '/r/console.txt')
  const word = (flag: string): string | undefined => argv[argv.indexOf(flag) + 1]

  it('has no network device and no disk, and ends with the harness', () => {
    assert.equal(word('-nic'), 'none')
    assert.ok(argv.includes('-nodefaults'))
    assert.ok(!argv.some(flag => /^-(drive|hda|blockdev|netdev|device)$/.test(flag)))
    assert.deepEqual(argv.slice(0, 4), ['setpriv', '--pdeathsig', 'KILL', 'qemu-system-x86_64'])
  })

  it('is emulated, with a clock of its own and bounded memory', () => {
    assert.match(word('-accel')!, /^tcg,tb-size=\d+$/)
    assert.match(word('-icount')!, /^shift=\d,sleep=off$/)
    assert.match(word('-m')!, /^\d+$/)
  })

  it('keeps its console in a file and speaks on standard output', () => {
    const ports = argv.flatMap((flag, index) => (flag === '-serial' ? [argv[index + 1]] : []))
    assert.deepEqual(ports, ['file:/r/console.txt', 'stdio'])
  })

  it('is understood line by line, whatever else its port says', () => {
    assert.deepEqual(wordOf('{"ended":0}\r'), { ended: 0 })
    for (const noise of ['', 'SeaBIOS (version 1.16)', '{"half":', '[1]', '7', 'null'])
      assert.equal(wordOf(noise), null)
  })
})
