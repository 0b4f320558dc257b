/**
 * Links by name, with what they are taken from. One-way figures: half of a measured round trip in each direction.
 * They are typical, not the best or the worst of their kind.
 */
import type { Impairment } from './topology.ts'

export type LinkPreset = 'lan' | 'fibre' | 'dsl' | 'wifi' | 'wifi-bad' | 'mobile-4g' | 'mobile-3g' | 'satellite'

/** Both directions of each preset, seen from its owner. */
export const LINK_PRESETS: Readonly<Record<LinkPreset, { up: Impairment; down: Impairment }>> = {
  // Gigabit Ethernet through one switch: IEEE 802.3ab's rate; a full frame alone takes 12 µs, stacks add the rest.
  lan: {
    up: { delayMs: 0.2, rateKbit: 1_000_000 },
    down: { delayMs: 0.2, rateKbit: 1_000_000 }
  },
  // FCC, "Measuring Broadband America", fixed, 11th to 13th report: fibre round trips of 8 to 15 ms, loss under 0.1 %;
  // a symmetric plan of 300 Mbit/s.
  fibre: {
    up: { delayMs: 5, jitterMs: 0.5, rateKbit: 300_000 },
    down: { delayMs: 5, jitterMs: 0.5, rateKbit: 300_000 }
  },
  // The same reports: DSL round trips of 30 to 40 ms, loss about 0.1 to 0.2 %. Rates: ITU-T G.993.2 (VDSL2), profile 17a,
  // as sold: 50 Mbit/s down, 10 up. Buffers of a large fraction of a second: Gettys and Nichols, "Bufferbloat", ACM Queue 2011.
  dsl: {
    up: { delayMs: 15, jitterMs: 2, distribution: 'normal', lossPct: 0.1, rateKbit: 10_000, limitPackets: 500 },
    down: { delayMs: 15, jitterMs: 2, distribution: 'normal', lossPct: 0.1, rateKbit: 50_000, limitPackets: 1500 }
  },
  // Sui et al., "Characterizing and Improving WiFi Latency in Large-Scale Operational Networks", MobiSys 2016: median of the
  // Wi-Fi hop about 3 ms with a long tail; goodput of one 802.11ac stream of 40 MHz in a home.
  wifi: {
    up: { delayMs: 2, jitterMs: 1, distribution: 'pareto', lossPct: 0.1, rateKbit: 100_000 },
    down: { delayMs: 2, jitterMs: 1, distribution: 'pareto', lossPct: 0.1, rateKbit: 100_000 }
  },
  // The same study: a tenth of its Wi-Fi hops took over 20 ms, with channel contention the cause. Loss in runs: Aguayo et al.,
  // "Link-level Measurements from an 802.11b Mesh Network", SIGCOMM 2004.
  'wifi-bad': {
    up: { delayMs: 20, jitterMs: 15, distribution: 'pareto', lossPct: 3, lossBurst: 3, rateKbit: 10_000 },
    down: { delayMs: 20, jitterMs: 15, distribution: 'pareto', lossPct: 3, lossBurst: 3, rateKbit: 10_000 }
  },
  // Huang et al., "A Close Examination of Performance and Power Characteristics of 4G LTE Networks", MobiSys 2012: median
  // 12.7 Mbit/s down and 5.6 up, round trip 70 ms.
  'mobile-4g': {
    up: { delayMs: 35, jitterMs: 10, distribution: 'paretonormal', lossPct: 0.5, rateKbit: 5600 },
    down: { delayMs: 35, jitterMs: 10, distribution: 'paretonormal', lossPct: 0.5, rateKbit: 12_700 }
  },
  // Chrome DevTools' "3G" throttling: 1.6 Mbit/s down, 750 kbit/s up, 150 ms round trip (the figures of WebPageTest's "3GFast"),
  // with losses in runs as radio links have them where they fade.
  'mobile-3g': {
    up: { delayMs: 75, jitterMs: 20, distribution: 'paretonormal', lossPct: 1, lossBurst: 2, rateKbit: 750 },
    down: { delayMs: 75, jitterMs: 20, distribution: 'paretonormal', lossPct: 1, lossBurst: 2, rateKbit: 1600 }
  },
  // Geostationary: twice 35,786 km are 239 ms one way, and FCC's "Measuring Broadband America" has about 600 ms of round trip;
  // rates of its plans, 25 Mbit/s down and 3 up.
  satellite: {
    up: { delayMs: 300, jitterMs: 10, distribution: 'normal', lossPct: 0.5, rateKbit: 3000 },
    down: { delayMs: 300, jitterMs: 10, distribution: 'normal', lossPct: 0.5, rateKbit: 25_000 }
  }
}

export const LINK_PRESET_NAMES = Object.keys(LINK_PRESETS) as LinkPreset[]
