"""Real processes by the hundred, each with its manner, forked from this one (zoo.ts speaks to it; a runtime for each would
be too heavy). Every member writes down each signal that it gets, who sent it and when; this process is the reaper of all,
also of those that fork away, and writes down how each one ended.

  zoo.py keep RECORD            keeps animals, told what to do by JSON lines on standard input
  zoo.py member RECORD NAME MANNER   one animal that is this very process (started by somebody else, with an environment of its own)
  zoo.py init PID_MAX COMMAND…  the first process of a pid namespace: so few pids, runs the command, reaps whoever is left to it

Records are lines `NAME MEMBER PID WHAT SENDER UNIX_MS` (with fractions), each one write, to a file opened for appending. WHAT is a signal's
name, `exit:CODE` or `died:SIGNAL`; SENDER is the pid of the sender, 0 = the kernel.
"""
import ctypes
import json
import os
import select
import signal
import sys
import time

PR_SET_CHILD_SUBREAPER = 36
# Whatever somebody could send. It is blocked and waited for, so that the record tells the sender too.
HEARD = set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE}
# Told by the keeper, not recorded: end by yourself.
END = signal.SIGRTMIN
# What `slow` needs to put its things in order.
SLOW_SECS = 3
# Forks of one turn of the loop while pids are used up.
FORKS_A_TURN = 40

# RESERVED_PIDS of the kernel: when the numbers begin anew, they begin above it.
RESERVED_PIDS = 300

record_fd = -1
birth_fd = -1


def note(name, member, pid, what, sender=0):
    os.write(record_fd, ('%s %s %d %s %d %.3f\n' % (name, member, pid, what, sender, time.time() * 1000)).encode())


def name_of(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return 'SIG%d' % number


def born(name, member):
    if birth_fd >= 0:
        os.write(birth_fd, ('%s %s %d\n' % (name, member, os.getpid())).encode())


def live(name, member, end_on=(), slow=False):
    """Records until a signal that it obeys, or for ever."""
    own = os.getpid()
    until = None
    while True:
        timeout = 3600 if until is None else max(0, until - time.monotonic())
        info = signal.sigtimedwait(HEARD | {END}, timeout)
        if info is None:
            if until is not None:
                os._exit(0)
            continue
        if info.si_signo == END:
            os._exit(0)
        note(name, member, own, name_of(info.si_signo), info.si_pid)
        if info.si_signo in end_on:
            if not slow:
                os._exit(0)
            until = until or time.monotonic() + SLOW_SECS


def child(fn):
    """A child that does this and never comes back."""
    pid = os.fork()
    if pid == 0:
        try:
            fn()
        finally:
            os._exit(70)
    return pid


def member_ready(name, member, then):
    def run():
        born(name, member)
        then()
    return run


TERM = (signal.SIGTERM,)


def ignoring(name, member):
    return member_ready(name, member, lambda: live(name, member))


def act(name, manner):
    """The leader, already in its group and with its uid. Each birth is told once its habit has begun."""
    if manner == 'obeys':
        born(name, 'leader')
        live(name, 'leader', TERM)
    elif manner == 'slow':
        born(name, 'leader')
        live(name, 'leader', TERM, slow=True)
    elif manner == 'ignores':
        born(name, 'leader')
        live(name, 'leader')
    elif manner == 'plain':
        # Nothing prepared at all: what it gets is what it dies of.
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        born(name, 'leader')
        while True:
            time.sleep(3600)
    elif manner == 'stopped':
        born(name, 'leader')
        os.kill(os.getpid(), signal.SIGSTOP)
        live(name, 'leader', TERM)
    elif manner == 'group':
        for number in (1, 2):
            child(member_ready(name, 'mate%d' % number, lambda n=number: live(name, 'mate%d' % n, TERM)))
        born(name, 'leader')
        live(name, 'leader', TERM)
    elif manner == 'leaves':
        # Its child stays behind in the group.
        child(ignoring(name, 'mate1'))
        born(name, 'leader')
        live(name, 'leader', TERM)
    elif manner == 'pair':
        child(ignoring(name, 'mate1'))
        born(name, 'leader')
        live(name, 'leader')
    elif manner == 'regroups':
        def regroup():
            os.setpgid(0, 0)
            ignoring(name, 'apart')()
        child(regroup)
        born(name, 'leader')
        live(name, 'leader')
    elif manner in ('daemonises', 'deserts'):
        def between():
            os.setsid()
            child(ignoring(name, 'daemon'))
            os._exit(0)
        # As daemon(3): the one in between has gone before anybody sees it.
        os.waitpid(child(between), 0)
        born(name, 'leader')
        live(name, 'leader', TERM if manner == 'deserts' else ())
    elif manner == 'orphans':
        # Nobody takes leave of the one in between.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

        def lingers():
            os.setsid()
            child(ignoring(name, 'daemon'))
            ignoring(name, 'between')()
        child(lingers)
        born(name, 'leader')
        live(name, 'leader', TERM)
    elif manner in ('shell', 'trapping'):
        # Descriptors of one digit, the shell knows no others.
        os.dup2(record_fd, 8)
        os.dup2(birth_fd, 9)
        # It tells of each child that died.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        # In place of this process: a real shell, with a real child in the background.
        trap = '' if manner == 'shell' else 'trap "echo %s leader $$ SIGTERM -1 \\$(date +%%s%%3N) >&8" TERM\n' % name
        tell = 'echo "%s mate1 $!\n%s leader $$" >&9\n' % (name, name)
        os.execv('/bin/sh', ['sh', '-c', trap + 'sleep 1000 &\n' + tell + 'while :; do wait; sleep 1; done'])
    else:
        raise SystemExit('no such manner: %s' % manner)


MEMBERS = {'group': 3, 'leaves': 2, 'pair': 2, 'regroups': 2, 'daemonises': 2, 'deserts': 2, 'orphans': 3, 'shell': 2, 'trapping': 2}


def become(uid):
    if uid is not None and uid != os.getuid():
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


class Keeper:
    def __init__(self):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self.births, self.birth_write = os.pipe()
        os.set_inheritable(self.birth_write, True)
        self.script = os.open(__file__, os.O_RDONLY)
        os.set_inheritable(self.script, True)
        self.half = b''
        # Name and member by pid, of all that have not been reaped.
        self.who = {}
        # Start time by pid: what a shell has reaped itself may be somebody else by now.
        self.alive = {}
        # Pids that strangers are to get.
        self.wanted = set()
        self.churning = False
        self.leaders = {}
        wake_read, wake_write = os.pipe()
        for fd in (wake_read, wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.wake = wake_read

    def run(self):
        say('ready')
        typed = b''
        while True:
            readable, _, _ = select.select([0, self.births, self.wake], [], [], 0 if self.churning else None)
            if self.births in readable:
                self.hear_births()
            if self.wake in readable:
                os.read(self.wake, 4096)
            self.reap()
            if 0 in readable:
                data = os.read(0, 65536)
                if data == b'':
                    return
                typed += data
                *lines, typed = typed.split(b'\n')
                for line in lines:
                    self.obey(json.loads(line))
            if self.churning:
                self.churn()

    def obey(self, order):
        answer = ''
        if 'start' in order:
            answer = json.dumps(self.start(order['start']))
        if 'end' in order:
            for pid in order['end']:
                try:
                    os.kill(pid, END)
                except ProcessLookupError:
                    pass  # It has ended by itself meanwhile, and was reaped.
            while any(is_there(pid, self.alive.get(pid)) for pid in order['end']):
                time.sleep(0.002)
                self.reap()
        if 'kill' in order:
            for pid in [pid for pid, (name, _) in self.who.items() if name in order['kill']]:
                if pid in self.alive and self.alive[pid] == start_ticks(pid):
                    os.kill(pid, signal.SIGKILL)
        if 'want' in order:
            self.wanted = set(order['want'])
            self.churning = len(self.wanted) > 0
        say('%d %s' % (order['n'], answer))

    def start(self, animals):
        expected = sum(MEMBERS.get(animal['manner'], 1) for animal in animals) + len(self.who)
        for animal in animals:
            self.fork(animal)
        # A later one may have to join the group of an earlier one, which takes its pid before its birth is told.
        while len(self.who) < expected:
            self.hear_births()
        for animal in animals:
            if animal['manner'] == 'stopped':
                os.waitid(os.P_PID, self.leaders[animal['name']], os.WSTOPPED)
        names = {animal['name'] for animal in animals}
        return [[name, member, pid] for pid, (name, member) in self.who.items() if name in names]

    def fork(self, animal):
        group = self.leaders.get(animal.get('group_of'), 0)
        pid = os.fork()
        if pid == 0:
            try:
                global birth_fd
                birth_fd = self.birth_write
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                signal.pthread_sigmask(signal.SIG_SETMASK, HEARD | {END})
                if animal.get('session'):
                    os.setsid()
                else:
                    os.setpgid(0, group)
                become(animal.get('uid'))
                marker = animal.get('marker')
                if marker is None:
                    act(animal['name'], animal['manner'])
                else:
                    key, value = marker.split('=', 1)
                    # By descriptor: another user may not reach the place where it lies.
                    script = self.script
                    own = dict(os.environ, ZOO_BIRTHS=str(birth_fd), ZOO_RECORD=str(record_fd), **{key: value})
                    args = ['member', sys.argv[2], animal['name'], animal['manner']]
                    os.execve(sys.executable, [sys.executable, '-S', '-E', '/proc/self/fd/%d' % script] + args, own)
            finally:
                os._exit(71)
        if not animal.get('session'):
            try:
                # As shells do, on both sides: whoever comes first.
                os.setpgid(pid, group or pid)
            except OSError:
                pass
        self.leaders[animal['name']] = pid
        self.alive[pid] = start_ticks(pid)

    def hear_births(self):
        *lines, self.half = (self.half + os.read(self.births, 65536)).split(b'\n')
        for line in lines:
            name, member, pid = line.decode().split(' ')
            self.who[int(pid)] = (name, member)
            self.alive[int(pid)] = start_ticks(pid)

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.alive.pop(pid, None)
            name, member = self.who.pop(pid, (None, None))
            if name is None:
                continue
            if os.WIFSIGNALED(status):
                what = 'died:' + name_of(os.WTERMSIG(status))
            else:
                what = 'exit:%d' % os.WEXITSTATUS(status)
            note(name, member, pid, what)

    def churn(self):
        """Uses up pids until the wanted ones come round: who gets one of those stays, as a stranger leading its own session."""
        for _ in range(FORKS_A_TURN):
            pid = os.fork()
            if pid == 0:
                own = os.getpid()
                if own not in self.wanted:
                    os._exit(0)
                signal.pthread_sigmask(signal.SIG_SETMASK, HEARD | {END})
                os.setsid()
                note('stranger', 'leader', own, 'born')
                live('stranger', 'leader')
            if pid in self.wanted:
                self.wanted.discard(pid)
                self.who[pid] = ('stranger', 'leader')
                self.alive[pid] = start_ticks(pid)
        # One fork more than are wanted costs nothing; without pause everybody else would wait.
        time.sleep(0.005)

    def close(self):
        """Nobody outlives the keeper, whatever it did to its group or session."""
        while True:
            self.alive.update((pid, start_ticks(pid)) for pid in children())
            for pid, ticks in list(self.alive.items()):
                if ticks == start_ticks(pid):
                    os.kill(pid, signal.SIGKILL)
            try:
                os.waitpid(-1, 0)
            except ChildProcessError:
                return


def children():
    with open('/proc/self/task/%d/children' % os.getpid()) as file:
        return [int(pid) for pid in file.read().split()]


def start_ticks(pid):
    """None where there is no such process."""
    try:
        with open('/proc/%s/stat' % pid) as file:
            return file.read().rsplit(')', 1)[1].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def is_there(pid, ticks):
    try:
        with open('/proc/%d/stat' % pid) as file:
            fields = file.read().rsplit(')', 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in 'ZX' and fields[19] == ticks


def say(text):
    os.write(1, (text + '\n').encode())


def init(pid_max, command):
    with open('/proc/sys/kernel/pid_max', 'w') as file:
        file.write(pid_max)
    # Those below are never given away again.
    while os.waitpid(child(lambda: os._exit(0)), 0)[0] < RESERVED_PIDS:
        pass
    pid = os.spawnvp(os.P_NOWAIT, command[0], command)
    while True:
        ended, status = os.waitpid(-1, 0)
        if ended == pid:
            sys.exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


if sys.argv[1] == 'init':
    init(sys.argv[2], sys.argv[3:])
if 'ZOO_RECORD' in os.environ:
    record_fd = int(os.environ['ZOO_RECORD'])
else:
    record_fd = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
os.set_inheritable(record_fd, True)
if sys.argv[1] == 'member':
    birth_fd = int(os.environ.get('ZOO_BIRTHS', '-1'))
    signal.pthread_sigmask(signal.SIG_SETMASK, HEARD | {END})
    if birth_fd < 0:
        born = lambda name, member: (note(name, member, os.getpid(), 'born'), say('ready') if member == 'leader' else None)
    act(sys.argv[3], sys.argv[4])
keeper = Keeper()
try:
    keeper.run()
finally:
    keeper.close()
