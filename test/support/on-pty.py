"""A command on a pseudo-terminal, driven by lines of JSON: `on-pty.py ROWS COLUMNS COMMAND [ARGUMENT...]`.

In: {"send": TEXT}, {"signal": NAME}, {"resize": [ROWS, COLUMNS]}, {"hangup": true}.
Out: {"pid": N}, {"out": TEXT}, and at the end {"exit": CODE, or minus a signal, "modes": {"echo", "lines"}}; null after a hang-up.
"""
import codecs, fcntl, json, os, select, signal, struct, sys, termios


def say(**event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def resize(fd, rows, columns):
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


master, slave = os.openpty()
resize(master, int(sys.argv[1]), int(sys.argv[2]))
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.closerange(3, 256)
    os.execvp(sys.argv[3], sys.argv[3:])

say(pid=pid)
decoder = codecs.getincrementaldecoder("utf-8")("replace")
commands = b""
status = None
watched = [master, 0]
# The slave stays open here, so that its modes can be read when the command is gone; so its end is not seen by reading.
while status is None:
    ready, _, _ = select.select(watched, [], [], 0.02)
    if master in ready:
        say(out=decoder.decode(os.read(master, 65536)))
    if 0 in ready:
        read = os.read(0, 65536)
        if read == b"":
            watched.remove(0)
            os.kill(pid, signal.SIGKILL)
        commands += read
        while b"\n" in commands:
            line, commands = commands.split(b"\n", 1)
            command = json.loads(line)
            if "send" in command:
                os.write(master, command["send"].encode())
            if "signal" in command:
                os.kill(pid, getattr(signal, command["signal"]))
            if "resize" in command:
                resize(master, *command["resize"])
            if "hangup" in command:
                watched.remove(master)
                os.close(master)
    if not ready:
        ended, code = os.waitpid(pid, os.WNOHANG)
        status = code if ended == pid else None
modes = None
if master in watched:
    while select.select([master], [], [], 0)[0]:
        say(out=decoder.decode(os.read(master, 65536)))
    local = termios.tcgetattr(slave)[3]
    modes = {"echo": bool(local & termios.ECHO), "lines": bool(local & termios.ICANON)}
say(exit=os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status), modes=modes)
