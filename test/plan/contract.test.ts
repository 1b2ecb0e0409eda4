/** The simulated host keeps the contract of hosts. */
import { hostContract } from '../host/contract.ts';
import { SimulatedHost } from './simulated.ts';

hostContract('simulated host', async () => {
  const host = new SimulatedHost();
  host.addDevice('lan0');
  host.addAddress('lan0', '192.0.2.10/24');
  host.addAddress('lan0', '2001:db8::10/64');
  host.setUp('lan0', true);
  host.addDevice('tun7');
  return {
    host,
    removeDevice: async (name) => host.removeDevice(name),
    setSetting: async (key, value) => host.setSetting(key, value),
    snapshot: async () => structuredClone(host.snapshot()),
    close: async () => {},
  };
});
