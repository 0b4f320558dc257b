/**
 * Cutting a host off by rules in its own network, for a runtime that has no port to unplug: Docker publishes the
 * control port over the same interface. Pure.
 */

const CUT_TABLE = 'warren_cut'

/** `nft -f` text that drops everything from and to this network except with `control` (the bridge's own address) and loopback. */
export function cutRuleset(control: string): string {
  return [
    `table inet ${CUT_TABLE}`,
    `delete table inet ${CUT_TABLE}`,
    `table inet ${CUT_TABLE} {`,
    '  chain input {',
    // Behind the shaper, so that what it holds at that moment is dropped too.
    '    type filter hook prerouting priority raw + 10; policy drop;',
    '    iifname "lo" accept',
    `    ip saddr ${control} accept`,
    '  }',
    '  chain output {',
    '    type filter hook output priority raw; policy drop;',
    '    oifname "lo" accept',
    `    ip daddr ${control} accept`,
    '  }',
    '}',
    ''
  ].join('\n')
}

/** Undoes `cutRuleset`; harmless where nothing is cut. */
export function healRuleset(): string {
  return `table inet ${CUT_TABLE}\ndelete table inet ${CUT_TABLE}\n`
}
