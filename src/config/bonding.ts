/** The options of the kernel's bonding driver, as `config interface 'bond'` may say them with engine openvpn. Source: Documentation/networking/bonding.rst. */
import type { Kind } from './kinds.ts';

/** A row of the table, in the shape of options.ts (which reads this file, so it cannot be named here). */
interface BondingOption<T> {
  readonly kind: Kind<T>;
  readonly engine: 'openvpn';
  readonly otherwise?: string;
  readonly doc: string;
}

/** Modes of the driver, in the order of their numbers. */
export const BONDING_MODES = [
  'balance-rr',
  'active-backup',
  'balance-xor',
  'broadcast',
  '802.3ad',
  'balance-tlb',
  'balance-alb',
] as const;

/** A mode of the driver. */
export type BondingMode = (typeof BONDING_MODES)[number];

/** A mode of the driver, by name or number. */
export const bondingMode: Kind<BondingMode> = {
  name: 'word',
  expected: BONDING_MODES.map((m) => `'${m}'`).join(' or '),
  example: BONDING_MODES[0],
  // The driver takes their numbers, too, and so do many files.
  read: (text) => BONDING_MODES[/^[0-6]$/.test(text) ? Number(text) : BONDING_MODES.indexOf(text as BondingMode)],
};

const number = (doc: string): BondingOption<string> => is(/^\d{1,9}$/, 'a whole number', '1', doc);
const word = (doc: string, ...words: string[]): BondingOption<string> =>
  is(
    new RegExp(`^(${words.join('|').replaceAll('+', '\\+')})$`),
    words.map((w) => `'${w}'`).join(' or '),
    words[0],
    doc,
  );

function is(shape: RegExp, expected: string, example: string, doc: string): BondingOption<string> {
  const name = expected === 'a whole number' ? 'number' : 'word';
  return {
    kind: { name, expected, example, read: (text) => (shape.test(text) ? text : undefined) },
    engine: 'openvpn',
    otherwise: "the driver's own",
    doc,
  };
}

/** The driver's parameters, by the names that `ip link` and sysfs have for them. */
export const BONDING_PARAMETERS = {
  arp_interval: {
    ...number(
      'Bonding driver: a tunnel through which no ARP answer came for two of these is not used. Units: milliseconds.',
    ),
    otherwise: "`'200'` where the mode has it and `miimon` is not said",
  },
  arp_ip_target: {
    ...is(
      /^[0-9.]+(,[0-9.]+){0,15}$/,
      'IPv4 addresses with commas between them',
      '10.0.0.1',
      'Bonding driver: whom it asks by ARP.',
    ),
    otherwise: '`remote_ipaddr`',
  },
  arp_validate: word(
    'Bonding driver: which ARP packets count.',
    'none',
    'active',
    'backup',
    'all',
    'filter',
    'filter_active',
    'filter_backup',
  ),
  arp_all_targets: word('Bonding driver: whether one answering target is enough.', 'any', 'all'),
  miimon: number(
    'Bonding driver: how often it looks at the carrier, which a dead line does not change. Units: milliseconds.',
  ),
  updelay: number('Bonding driver: wait before a tunnel that is back is used. Units: milliseconds.'),
  downdelay: number('Bonding driver: wait before a tunnel without carrier is left. Units: milliseconds.'),
  use_carrier: word('Bonding driver: how it learns of the carrier.', '0', '1'),
  xmit_hash_policy: word(
    'Bonding driver: what of a packet chooses its tunnel, in the modes that hash.',
    'layer2',
    'layer2+3',
    'layer3+4',
    'encap2+3',
    'encap3+4',
    'vlan+srcmac',
  ),
  fail_over_mac: word('Bonding driver: whose MAC address the bond has.', 'none', 'active', 'follow'),
  primary: {
    ...is(/^[A-Za-z0-9_.-]{1,15}$/, 'a tunnel', 'tun0', 'Bonding driver: the tunnel that is preferred.'),
    otherwise: 'none',
  },
  primary_reselect: word('Bonding driver: when the preferred one is taken again.', 'always', 'better', 'failure'),
  lacp_rate: word('Bonding driver: how often LACP packets are asked for.', 'slow', 'fast'),
  ad_select: word('Bonding driver: choice of the aggregator.', 'stable', 'bandwidth', 'count'),
  min_links: number('Bonding driver: with fewer tunnels the bond has no carrier.'),
  packets_per_slave: number('Bonding driver: packets by a tunnel before the next one, in balance-rr; 0: by chance.'),
  resend_igmp: number('Bonding driver: IGMP reports after a change of tunnels.'),
  num_grat_arp: number('Bonding driver: ARP announcements after a change of tunnels.'),
  all_slaves_active: {
    ...word('Bonding driver: whether packets that come by a tunnel at rest count.', '0', '1'),
    otherwise: "`'1'` with active-backup: the two ends may have chosen different tunnels",
  },
  lp_interval: number('Bonding driver: time between learning packets. Units: seconds.'),
  tlb_dynamic_lb: word('Bonding driver: whether balance-tlb moves flows by load.', '0', '1'),
} satisfies Record<string, BondingOption<string>>;
