# What `skep python` runs: prepares the session, then the driver as python3 itself would have.
#
#   _driver.py BACKEND PID COMMAND_WORDS [COMMAND...] DRIVER [ARGUMENTS...]
#
# The driver is unchanged: it sees its own argv, its own directory first in sys.path, and is __main__.
import os
import sys


def _split(arguments):
    backend, pid, words = arguments[0], int(arguments[1]), int(arguments[2])
    return backend, pid, arguments[3:3 + words], arguments[3 + words:]


def _load(path):
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        print("skep: %s: %s" % (path, error.strerror), file=sys.stderr)
        sys.exit(2)
    return source, compile(source, path, "exec")


def _told_end(session):
    told = session.engine().workload()
    if session.plan.command and os.WIFSIGNALED(told.wait_status):
        return "the command was ended by signal %d" % os.WTERMSIG(told.wait_status)
    if session.plan.command:
        return "the command ended with status %d" % os.WEXITSTATUS(told.wait_status)
    return "process %d ended" % session.plan.pid


def _run(code, namespace, session):
    """Runs the driver; its exit status."""
    try:
        exec(code, namespace)
    except SystemExit as leaving:
        if isinstance(leaving.code, str):
            print(leaving.code, file=sys.stderr)
            return 1
        return leaving.code or session.exit_status()
    except KeyboardInterrupt:
        if not session.has_ended():
            return 130
        session.note(_told_end(session))
        return session.exit_status()
    except BrokenPipeError:
        return 0
    except BaseException as error:
        # Without our own frame, as python3 would show it.
        error.__traceback__ = error.__traceback__.tb_next
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    if session.plan.wanted() and not session.plan.started:
        session.note("the driver ended before it waited for anything: the command was not started")
    return session.exit_status()


def _finish(status, session):
    """Leaves with what the driver registered for its exit done, without the interpreter's own teardown."""
    try:
        import threading
        threading._shutdown()
        import atexit
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except (BrokenPipeError, KeyboardInterrupt, ValueError):  # ValueError: the driver has closed it
        pass
    if session.plan.started and not session.plan.failed and not session.has_ended():
        session.engine().stop()
    os._exit(status if isinstance(status, int) else 1)


def main():
    backend, pid, command, rest = _split(sys.argv[1:])
    driver = rest[0]
    source, code = _load(driver)
    from skep import _session
    _session.plan.backend = backend
    _session.plan.pid = pid
    _session.plan.command = command
    if _session.plan.wanted():
        import time
        time.sleep = _session.sleep
        _session.plan.handles_interrupts = b"KeyboardInterrupt" in source
    sys.argv = rest
    sys.path[0] = os.path.dirname(os.path.abspath(driver))
    module = type(sys)("__main__")
    module.__file__ = driver
    module.__builtins__ = __builtins__
    module.__loader__ = None
    sys.modules["__main__"] = module
    _finish(_run(code, module.__dict__, _session), _session)


main()
