/**
 * What is laid over the installed image: a payload under the agent's care, two serial ways out to the tests, a network card,
 * and a place for the host's share. None of it configures the agent.
 */

interface GuestFile {
  readonly text: string;
  readonly mode?: number;
}

/** Tells of its SIGTERM, takes two seconds for its checkpoint, puts it onto the disk, tells of its end. */
const JOB = `#!/bin/sh
trap 'echo term; sleep 2; echo saved > /var/lib/job/checkpoint; sync /var/lib/job/checkpoint; echo saved; exit 0' TERM
echo started
# A shell takes a signal only between commands, or in "wait".
while :; do sleep 1000 & wait $!; done
`;

/** The first word of each boot, before any payload's. */
export const BOOTING = 'booting';
/** What the agent published first of all in this boot, as whoever came then has read it. */
export const FIRST_DOCUMENT = '/run/bed-first.json';

/** Waits without a process for each look; then says when, by the kernel's clock since its start. */
const PUBLISHED = `#!/bin/sh
echo ${BOOTING}
until [ -e /run/mjf-agent/lifetime.json ]; do sleep 0.1; done
cp /run/mjf-agent/lifetime.json ${FIRST_DOCUMENT}
echo "published $(cut -d ' ' -f 1 /proc/uptime)"
`;

/** Commands from the tests, one after the other; the port can be opened only once, so for reading and writing at once. */
const SHELL = `#!/bin/sh
until [ -e /dev/virtio-ports/bed ]; do sleep 0.2; done
exec 3<> /dev/virtio-ports/bed
exec /bin/sh <&3 >&3 2>&3
`;

const unit = (lines: readonly string[]): GuestFile => ({ text: `${lines.join('\n')}\n` });

export const FILES: Readonly<Record<string, GuestFile>> = {
  'usr/local/bin/job': { text: JOB, mode: 0o755 },
  'usr/local/bin/bed-published': { text: PUBLISHED, mode: 0o755 },
  'usr/local/bin/bed-shell': { text: SHELL, mode: 0o755 },
  'etc/systemd/system/job.service': unit([
    '[Unit]',
    'After=mjf-agent.service',
    '[Service]',
    // A batch system would do the same: nothing here knows of the agent but the command.
    'ExecStart=/usr/bin/mjf-agent exec --name job -- /usr/local/bin/job',
    'User=daemon',
    'StateDirectory=job',
    'StandardOutput=file:/dev/ttyS1',
    '[Install]',
    'WantedBy=multi-user.target',
  ]),
  'etc/systemd/system/bed-published.service': unit([
    '[Unit]',
    'DefaultDependencies=no',
    'After=dev-ttyS1.device',
    '[Service]',
    'ExecStart=/usr/local/bin/bed-published',
    'StandardOutput=file:/dev/ttyS1',
    '[Install]',
    'WantedBy=sysinit.target',
  ]),
  'etc/systemd/system/bed-shell.service': unit([
    '[Service]',
    'ExecStart=/usr/local/bin/bed-shell',
    // Till the very end of the machine.
    'IgnoreSIGPIPE=no',
    '[Install]',
    'WantedBy=multi-user.target',
  ]),
  'etc/systemd/system/etc-machinefeatures.mount': unit([
    '[Unit]',
    'ConditionKernelCommandLine=bed.share',
    '[Mount]',
    'What=mjf',
    'Where=/etc/machinefeatures',
    'Type=9p',
    'Options=trans=virtio,version=9p2000.L,ro,msize=131072',
    '[Install]',
    'WantedBy=local-fs.target',
  ]),
  // As images of experiments have it: who is not root does not reach the metadata.
  'etc/nftables.conf': {
    text: `table inet site {
  chain output {
    type filter hook output priority filter; policy accept;
    ip daddr 169.254.169.254 meta skuid != 0 drop
  }
}
`,
  },
  'etc/systemd/system/nftables.service.d/bed.conf': unit(['[Unit]', 'ConditionKernelCommandLine=bed.firewall']),
  'etc/systemd/network/80-all.network': unit([
    '[Match]',
    'Type=ether',
    '[Network]',
    'DHCP=ipv4',
    'LinkLocalAddressing=no',
  ]),
  'etc/modules-load.d/bed.conf': unit([
    '9pnet_virtio',
    '9p',
    'virtio_console',
    'evdev',
    'button',
    'qemu_fw_cfg',
    'dmi_sysfs',
  ]),
  'etc/hostname': { text: 'guest\n' },
  'etc/fstab': { text: '/dev/vda / ext4 defaults 0 0\n' },
  'root/settle.sh': {
    text: `set -e
mkdir -p /etc/machinefeatures
rm -f /etc/machine-id; : > /etc/machine-id
systemctl -q enable systemd-networkd nftables job bed-published bed-shell etc-machinefeatures.mount
# What costs an emulated machine seconds and tells nobody anything.
systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \\
  systemd-networkd-wait-online.service systemd-timesyncd.service getty@tty1.service serial-getty@ttyS0.service
rm /root/settle.sh
`,
  },
};
