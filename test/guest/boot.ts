/**
 * What a guest kernel is started with: its command line, and the two scripts that are its first process.
 *
 * The guest's root is this machine's file system, read only, under a memory overlay: whatever is written in the guest is gone with
 * it. Only the folder of the run is shared for writing, and only the exit status is written there. Standard output and standard
 * error come out of two terminals of the guest (tty1, tty2), kernel messages out of its console (tty0).
 */

/** Where the guest's terminals come out: file descriptors of the kernel's process. */
export const CONSOLE_FD = 3;
export const STDOUT_FD = 4;
export const STDERR_FD = 5;

/** Names in the folder of a run. */
export const FILES = { first: 'first', second: 'second', status: 'status', kernel: 'uml' } as const;

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The kernel's arguments. `panic=-1 noreboot`: a kernel that cannot go on ends, where it would otherwise turn for ever. */
export function kernelArgv(program: string, folder: string, memMb: number): string[] {
  return [
    program,
    `mem=${memMb}M`,
    'quiet',
    'panic=-1',
    'noreboot',
    'umid=guest',
    `uml_dir=${folder}/${FILES.kernel}/`,
    'rootfstype=hostfs',
    'rootflags=/',
    'ro',
    `init=${folder}/${FILES.first}`,
    'bonding.max_bonds=0',
    'con=null',
    `con0=null,fd:${CONSOLE_FD}`,
    `con1=null,fd:${STDOUT_FD}`,
    `con2=null,fd:${STDERR_FD}`,
    'ssl=null',
  ];
}

/**
 * The first process: a root that can be written to, then the second script in it by `exec`, for modules are loaded by a program that the
 * kernel starts in the root of process 1. `modules`: the kernel's modules; undefined: it has none.
 */
export function firstScript(folder: string, modules?: string): string {
  const place = 'usr/lib/modules/$(uname -r)';
  const [overlay, rest] =
    modules === undefined
      ? ['', '']
      : [
          `insmod ${modules}/$(uname -r)/kernel/fs/overlayfs/overlay.ko`,
          `mkdir -p ${place}\nmount --bind ${modules}/$(uname -r) ${place}\nchroot . modprobe -a tun ipv6`,
        ];
  return `#!/bin/sh
set -e
export PATH=${PATH}
mount -t proc proc /proc
${overlay}
mount -t tmpfs -o mode=755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
cd /mnt/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts devpts dev/pts
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
${rest}
mount -t hostfs -o ${quote(folder)} none .${quote(folder)}
exec chroot . /bin/sh ${quote(`${folder}/${FILES.second}`)}
`;
}

/** The second script: runs the command, writes its exit status and ends the kernel (Linux has no other word for it than reboot(2)). */
export function secondScript(
  folder: string,
  argv: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string>>,
): string {
  const words = Object.entries({ PATH, HOME: '/root', LANG: 'C.UTF-8', NO_COLOR: '1', ...env }).map(
    ([name, value]) => `${name}=${value}`,
  );
  return `stty -F /dev/tty1 raw -echo
stty -F /dev/tty2 raw -echo
ip link set lo up
cd ${quote(cwd)}
env -i ${[...words, ...argv].map(quote).join(' ')} </dev/null >/dev/tty1 2>/dev/tty2
echo $? >${quote(`${folder}/${FILES.status}`)}
sync
perl -e 'syscall(169, 0xfee1dead, 672274793, 0x4321fedc, 0)'
`;
}

/** One word for sh, whatever is in it. */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
