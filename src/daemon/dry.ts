/** The dry run's supposition: the host as it would be once the packet path has opened its device. */
import type { Config } from '../config/config.ts';
import type { Live } from '../plan/desired.ts';
import type { Facts } from '../plan/facts.ts';
import type { Observed } from '../plan/plan.ts';
import { deviceOf, type Thing } from '../plan/thing.ts';

/** The inner MTU before any path has told its own. Source: RFC 8200 §5, what every IPv6 host must take. */
export const FIRST_INNER_MTU = 1280;

/** What would be observed with the device there; as it is when the device is there already. */
export function withDevice(config: Config, facts: Facts): { facts: Facts; live: Live } {
  const { ifname } = config.bond;
  const mtuNow = facts.things.find((t) => t.kind === 'mtu' && t.dev === ifname);
  if (facts.devices.includes(ifname)) {
    const innerMtu = mtuNow?.kind === 'mtu' ? mtuNow.mtu : FIRST_INNER_MTU;
    return { facts, live: { innerMtu } };
  }
  const things: Thing[] = [
    { kind: 'mtu', dev: ifname, mtu: 1500 },
    { kind: 'up', dev: ifname, up: false },
    { kind: 'sysctl', key: `net/ipv4/conf/${ifname}/rp_filter`, value: '0' },
  ];
  if (facts.ipv6) things.push({ kind: 'sysctl', key: `net/ipv6/conf/${ifname}/addr_gen_mode`, value: '0' });
  return {
    facts: { ...facts, devices: [...facts.devices, ifname], things: [...facts.things, ...things] },
    live: { innerMtu: config.bond.mtu ?? FIRST_INNER_MTU },
  };
}

/** What would be observed once the device is gone, and with it what hangs on it. */
export function withoutDevice(observed: Observed, ifname: string): Observed {
  return {
    ...observed,
    devices: observed.devices.filter((d) => d !== ifname),
    things: observed.things.filter((t) => deviceOf(t) !== ifname),
  };
}
