import assert from 'node:assert/strict'
import { writableMounts } from './netns-mounts.ts'

describe('the mounts a testnet makes read-only', () => {
  it('are those that hold files and can be written', () => {
    const mountinfo = [
      '22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw',
      '23 22 0:20 / /proc rw,nosuid - proc proc rw',
      '24 22 0:21 / /dev/shm rw - tmpfs tmpfs rw',
      '25 22 254:1 / /home rw,nosuid,nodev,relatime - ext4 /dev/vdb rw',
      '26 22 254:2 / /mnt/a\\040b rw - ext4 /dev/vdc rw',
      '27 22 254:3 / /media ro,relatime - ext4 /dev/vdd ro',
      '28 22 0:22 / /running rw - tmpfs tmpfs rw',
      ''
    ].join('\n')
    assert.deepEqual(writableMounts(mountinfo), [
      { path: '/', options: ['rw', 'relatime'] },
      { path: '/home', options: ['rw', 'nosuid', 'nodev', 'relatime'] },
      { path: '/mnt/a b', options: ['rw'] },
      { path: '/running', options: ['rw'] }
    ])
  })
})
