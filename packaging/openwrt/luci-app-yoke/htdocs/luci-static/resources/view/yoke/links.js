// The links in /etc/config/bonding. Saving has the running instance take the file again (procd's trigger in /etc/init.d/yoke).

'require form';
'require rpc';
'require tools.widgets as widgets';
'require ui';
'require view';

const callCheck = rpc.declare({ object: 'luci.yoke', method: 'check', expect: {} });

function showCheck() {
  return L.resolveDefault(callCheck(), {}).then((answer) => {
    const text = answer.text || _('rpcd does not know luci.yoke: restart it');
    ui.addNotification(null, E('pre', {}, [text]), answer.good ? 'info' : 'warning');
  });
}

return view.extend({
  render: () => {
    const map = new form.Map(
      'bonding',
      _('Bonded Links'),
      _('Each link is one way to the internet. Keys and the bond itself are set up by: yoke join'),
    );

    const bond = map.section(form.NamedSection, 'bond', 'interface', _('Bond'));
    bond.button = bond.option(form.Button, '_check', _('Saved configuration'));
    bond.button.inputtitle = _('Check');
    bond.button.onclick = showCheck;

    const links = map.section(form.GridSection, 'link', _('Links'));
    links.addremove = true;
    links.nodescriptions = true;

    const off = links.option(form.Flag, 'disabled', _('Off'));
    off.default = '0';

    const device = links.option(widgets.NetworkSelect, 'interface', _('Interface'));
    device.rmempty = false;
    device.nocreate = true;
    // a file may name the device itself
    device.validate = (_section, value) => (value ? true : _('Choose the interface of this internet access'));

    const server = links.option(form.Value, 'server', _('Server'));
    server.datatype = 'host';
    server.rmempty = false;

    const port = links.option(form.Value, 'remote_port', _('Port'));
    port.datatype = 'port';
    port.placeholder = '1194';
    port.modalonly = true;

    for (const [name, title] of [
      ['down', _('At most down')],
      ['up', _('At most up')],
    ]) {
      const limit = links.option(form.Value, name, title);
      limit.placeholder = _('found by itself; or: 50mbit');
      limit.optional = true;
      limit.modalonly = true;
      limit.validate = (_section, value) =>
        !value || /^\d+(\.\d+)?([kmg]?bit)?$/.test(value) ? true : _('A rate like 50mbit');
    }

    return map.render();
  },
});
