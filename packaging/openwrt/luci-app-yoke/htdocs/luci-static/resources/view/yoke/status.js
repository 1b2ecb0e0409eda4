// How the bond and its links are: asked of yoke every three seconds, with rates between two answers.
// Texts are children in arrays: LuCI takes a bare string for HTML.

'require dom';
'require poll';
'require rpc';
'require view';

const PERIOD_S = 3;
const callStatus = rpc.declare({ object: 'luci.yoke', method: 'status', expect: {} });

const rate = (bps) => (bps >= 999500 ? (bps / 1e6).toFixed(1) + ' Mbit/s' : Math.round(bps / 1000) + ' kbit/s');

/** Bits a second between two counts of bytes; a dash for the first, or after a restart. */
function rateBetween(now, before, elapsedS) {
  return before === undefined || now < before || !(elapsedS > 0) ? '–' : rate(((now - before) * 8) / elapsedS);
}

function table(titles, rows) {
  return E('table', { class: 'table' }, [
    E('tr', { class: 'tr table-titles' }, titles.map((title) => E('th', { class: 'th' }, [title]))),
    ...rows.map((cells) => E('tr', { class: 'tr' }, cells.map((cell) => E('td', { class: 'td' }, [String(cell)])))),
  ]);
}

function bondRows(status, before, elapsedS) {
  return status.bonds.map((bond) => {
    const old = before && before.bonds.find((b) => b.peer === bond.peer);
    return [
      bond.peer,
      bond.established ? _('connected') : _('not connected'),
      rateBetween(bond.rxBytes, old && old.rxBytes, elapsedS),
      rateBetween(bond.txBytes, old && old.txBytes, elapsedS),
      bond.paths.filter((path) => path.state === 'up').length + ' / ' + bond.paths.length,
    ];
  });
}

function linkRows(status, before, elapsedS) {
  const pathOf = (of, name) => of && of.bonds[0] && of.bonds[0].paths.find((path) => path.name === name);
  return status.links.map((link) => {
    const path = pathOf(status, link.name);
    const old = pathOf(before, link.name);
    return [
      link.name,
      link.device,
      link.usable ? (path ? path.state : link.verdict) : link.reason,
      path ? path.srttMs.toFixed(0) + ' ms' : '–',
      path ? rateBetween(path.rxBytes, old && old.rxBytes, elapsedS) : '–',
      path ? rateBetween(path.txBytes, old && old.txBytes, elapsedS) : '–',
      path ? path.lostDatagrams : '–',
    ];
  });
}

function render(answer, before, elapsedS) {
  if (!answer || !answer.running) {
    const reason = (answer && answer.reason) || _('rpcd does not know luci.yoke: restart it');
    return [E('p', { class: 'alert-message warning' }, [_('yoke does not run: ') + reason])];
  }
  const { status } = answer;
  return [
    ...status.warnings.map((text) => E('p', { class: 'alert-message warning' }, [text])),
    E('h3', {}, [_('Bond')]),
    table([_('Peer'), _('Session'), _('Down'), _('Up'), _('Paths up')], bondRows(status, before, elapsedS)),
    E('h3', {}, [_('Links')]),
    table(
      [_('Link'), _('Device'), _('State'), _('Round trip'), _('Down'), _('Up'), _('Lost')],
      linkRows(status, before, elapsedS),
    ),
    E('p', {}, ['yoke: ' + status.role + ', ' + status.engine + ', ' + status.ifname]),
  ];
}

return view.extend({
  load: () => L.resolveDefault(callStatus(), {}),

  render: (first) => {
    let last = { answer: first, atMs: Date.now() };
    const content = E('div', {}, render(first));
    poll.add(
      () =>
        L.resolveDefault(callStatus(), {}).then((answer) => {
          const atMs = Date.now();
          // counters of another process begin again
          const same = last.answer.running && answer.running && last.answer.status.pid === answer.status.pid;
          dom.content(content, render(answer, same ? last.answer.status : undefined, (atMs - last.atMs) / 1000));
          last = { answer, atMs };
        }),
      PERIOD_S,
    );
    return E('div', {}, [E('h2', {}, [_('Bonded Links')]), content]);
  },

  handleSave: null,
  handleSaveApply: null,
  handleReset: null,
});
