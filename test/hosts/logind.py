"""org.freedesktop.login1 on a private bus, for test/hosts/logind.ts: python3-dbusmock's logind, with what it lacks.

Usage: logind.py BUS_ADDRESS. Takes commands on stdin, answers each with one line: "ok", or what was asked for.
"""

import json
import os
import sys

import dbus
import dbus.bus
import dbus.lowlevel
import dbus.mainloop.glib
import dbus.service
import dbusmock.mockobject
from gi.repository import GLib

NAME = "org.freedesktop.login1"
PATH = "/org/freedesktop/login1"
MANAGER = "org.freedesktop.login1.Manager"
NEVER = dbus.UInt64(2**64 - 1)


def struct(kind, usec):
    return dbus.Struct((dbus.String(kind), dbus.UInt64(usec)), signature="st")


class Logind:
    def __init__(self, address):
        self.address = address
        self.bus = dbus.bus.BusConnection(address)
        self.bus.set_exit_on_disconnect(False)
        self.name = dbus.service.BusName(NAME, self.bus, do_not_queue=True)
        self.mock = dbusmock.mockobject.DBusMockObject(self.name, PATH, MANAGER, {}, logfile=os.devnull)
        self.mock.AddTemplate("logind", {})
        dbusmock.mockobject.objects[PATH] = self.mock
        self.values = self.mock.props[MANAGER]
        self.values["ScheduledShutdown"] = struct("", NEVER)
        self.values["InhibitDelayMaxUSec"] = dbus.UInt64(5_000_000)

    def signal(self, active, kind=None):
        if kind is not None:
            metadata = dbus.Dictionary({"type": dbus.String(kind, variant_level=1)}, signature="sv")
            self.mock.EmitSignal(MANAGER, "PrepareForShutdownWithMetadata", "ba{sv}", [active, metadata])
        self.mock.EmitSignal(MANAGER, "PrepareForShutdown", "b", [active])

    # The properties change without a signal, as in systemd 252.

    def begin(self, kind="", told=""):
        """begin [TYPE [told]]: a shutdown begins; told: with the type in the signal, as since systemd 255."""
        self.signal(True, kind if told else None)
        self.values["PreparingForShutdown"] = dbus.Boolean(True)
        if kind and not told and self.values["ScheduledShutdown"][1] == NEVER:
            self.values["ScheduledShutdown"] = struct(kind, 0)

    def abort(self):
        self.signal(False)
        self.values["PreparingForShutdown"] = dbus.Boolean(False)
        self.values["ScheduledShutdown"] = struct("", NEVER)

    def only_signal(self, active):
        """A logind of a simple kind, whose property stays as it was."""
        self.signal(active == "true")

    def only_property(self, active):
        self.values["PreparingForShutdown"] = dbus.Boolean(active == "true")

    def schedule(self, kind, usec):
        self.values["ScheduledShutdown"] = struct(kind, int(usec))

    def announce(self, kind, usec):
        """As a logind that tells of the change of the property."""
        self.schedule(kind, usec)
        changed = dbus.Dictionary({"ScheduledShutdown": self.values["ScheduledShutdown"]}, signature="sv")
        self.mock.EmitSignal(dbus.PROPERTIES_IFACE, "PropertiesChanged", "sa{sv}as",
                             [MANAGER, changed, dbus.Array([], signature="s")])

    def delay(self, usec):
        self.values["InhibitDelayMaxUSec"] = dbus.UInt64(int(usec))

    def odd(self, name):
        self.values[name] = dbus.String("odd", variant_level=1)

    def lose(self, name):
        del self.values[name]

    def leave(self):
        self.bus.release_name(NAME)

    def come(self):
        self.bus.request_name(NAME, dbus.bus.NAME_FLAG_DO_NOT_QUEUE)

    def forge(self, active):
        """Another user of the bus says the same to all and to everybody by name."""
        other = dbus.bus.BusConnection(self.address)
        other.set_exit_on_disconnect(False)
        for destination in [None] + [str(name) for name in other.list_names() if name.startswith(":")]:
            message = dbus.lowlevel.SignalMessage(PATH, MANAGER, "PrepareForShutdown")
            message.append(active == "true", signature="b")
            if destination is not None:
                message.set_destination(destination)
            other.send_message(message)
        other.flush()
        # A round trip: what was sent before it has been passed on.
        other.list_names()
        other.close()

    def listeners(self):
        """How many others are on the bus."""
        return str(sum(name.startswith(":") for name in self.bus.list_names()) - 1)

    def inhibitors(self):
        held = getattr(dbusmock.mockobject, "inhibitors", [])
        return json.dumps([[str(field) for field in one[:4]] for one in held])


def main():
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    logind = Logind(sys.argv[1])
    loop = GLib.MainLoop()
    pending = b""

    def obey(fd, _condition):
        nonlocal pending
        chunk = os.read(fd, 4096)
        if not chunk:
            loop.quit()
            return False
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            verb, *words = line.decode().split() or [""]
            try:
                answer = getattr(logind, verb.replace("-", "_"))(*words)
            except Exception as error:  # pylint: disable=broad-except
                answer = f"error {error!r}"
            print("ok" if answer is None else answer, flush=True)
        return True

    GLib.unix_fd_add_full(GLib.PRIORITY_DEFAULT, 0, GLib.IO_IN | GLib.IO_HUP, obey)
    print("ready", flush=True)
    loop.run()


main()
