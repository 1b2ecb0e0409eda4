/**
 * As much of LuCI as our pages use, for a test in a browser: E, rpc, poll, dom, form, widgets, ui, view. Written from its documentation; the
 * one trap is kept: a bare string as a child is HTML, in an array it is text.
 *
 * The page that holds it sets `ANSWERS` (method → list of answers, the last one stays); `runView(source)` runs a view and polls twice.
 */
/* global document, ANSWERS */
const calls = [];
window.calls = calls;

function append(node, children) {
  if (Array.isArray(children)) {
    for (const child of children) {
      if (child === null || child === undefined) continue;
      node.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
    }
  } else if (children instanceof Node) node.appendChild(children);
  else if (children !== null && children !== undefined) node.innerHTML = String(children);
}

window.E = (tag, attributes, children) => {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) node.setAttribute(name, value);
  append(node, children);
  return node;
};
window._ = (text) => text;
window.L = { resolveDefault: (value, otherwise) => Promise.resolve(value).catch(() => otherwise) };

const polled = [];

class Section {
  constructor(type, title) {
    this.node = E('fieldset', { 'data-type': type }, [E('legend', {}, [title])]);
    this.options = [];
  }
  option(kind, name, title) {
    const option = { kind: kind.name, name, title };
    this.options.push(option);
    this.node.appendChild(E('label', { 'data-option': name, 'data-kind': kind.name }, [title]));
    return option;
  }
}

class FormMap {
  constructor(config, title, text) {
    this.sections = [];
    this.node = E('form', { 'data-config': config }, [E('h2', {}, [title]), E('p', {}, [text])]);
    window.map = this;
  }
  section(_kind, ...words) {
    const section = new Section(words[0], words.at(-1));
    this.sections.push(section);
    this.node.appendChild(section.node);
    return section;
  }
  render() {
    return Promise.resolve(this.node);
  }
}

const kind = (name) => ({ name });
const MODULES = {
  dom: {
    content(node, children) {
      node.replaceChildren();
      append(node, children);
    },
  },
  form: {
    Map: FormMap,
    NamedSection: kind('NamedSection'),
    GridSection: kind('GridSection'),
    Button: kind('Button'),
    Flag: kind('Flag'),
    Value: kind('Value'),
  },
  poll: { add: (work, seconds) => polled.push({ work, seconds }) },
  rpc: {
    declare:
      ({ object, method }) =>
      () => {
        calls.push(`${object}.${method}`);
        const answers = ANSWERS[method];
        const answer = answers.length > 1 ? answers.shift() : answers[0];
        return answer === null ? Promise.reject(new Error('no such object')) : Promise.resolve(answer);
      },
  },
  'tools.widgets': { NetworkSelect: kind('NetworkSelect') },
  ui: { addNotification: (_title, node, level) => document.body.append(E('aside', { class: level }, [node])) },
  view: { extend: (members) => members },
};

window.runView = async (source) => {
  const modules = [...source.matchAll(/^'require ([\w.]+)(?: as (\w+))?';$/gm)].map(([, name, as]) => [
    as ?? name,
    name,
  ]);
  for (const [, name] of modules) if (!MODULES[name]) throw new Error(`no module ${name}`);
  const body = new Function(...modules.map(([as]) => as), source);
  const page = body(...modules.map(([, name]) => MODULES[name]));
  const data = page.load ? await page.load() : undefined;
  document.body.append(await page.render(data));
  for (let i = 0; i < 2; i++) {
    await new Promise((resolve) => setTimeout(resolve, 1000));
    for (const { work } of polled) await work();
  }
};
