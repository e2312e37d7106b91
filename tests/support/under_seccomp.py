"""Becomes a command under a seccomp profile in OCI's format: under_seccomp.py PROFILE COMMAND ARGUMENT…

What the profile can say, as far as ours says it: names, one argument compared, ALLOW or ERRNO.
"""

import ctypes
import errno
import json
import os
import platform
import re
import struct
import subprocess
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, AND, RETURN = 0x20, 0x15, 0x54, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_ALU|AND|K, BPF_RET|K
NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # places in struct seccomp_data
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def numbers():
    """The system calls of this machine by name, as the C library's headers have them."""
    command = ["cc", "-E", "-dM", "-include", "sys/syscall.h", "-xc", "/dev/null"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name: int(number) for name, number in re.findall(r"#define __NR_(\w+) (\d+)\n", text)}


def program(profile):
    """The filter, one instruction each: code, how far to jump if so, if not, operand."""
    calls = numbers()
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    machine = platform.machine()
    assert f"SCMP_ARCH_{machine.upper()}" in profile["architectures"]
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, ARCHITECTURES[machine]), (RETURN, 0, 0, KILL)]
    for rule in profile["syscalls"]:
        allowed = rule["action"] == "SCMP_ACT_ALLOW"
        verdict = ALLOW if allowed else ERRNO | rule["errnoRet"]
        for name in rule["names"]:
            if name not in calls:
                continue  # it has another name on another machine
            body = [(RETURN, 0, 0, verdict)]
            for argument in rule.get("args", []):
                load = (LOAD, 0, 0, ARGUMENTS + 8 * argument["index"])  # its lower half; both machines are little-endian
                if argument["op"] == "SCMP_CMP_MASKED_EQ":
                    body = [load, (AND, 0, 0, argument["value"]), (EQUAL, 0, 1, argument["valueTwo"]), *body]
                else:
                    assert argument["op"] == "SCMP_CMP_EQ"
                    body = [load, (EQUAL, 0, 1, argument["value"]), *body]
            code += [(LOAD, 0, 0, NUMBER), (EQUAL, 0, len(body), calls[name]), *body]
    return [*code, (RETURN, 0, 0, ERRNO | profile["defaultErrnoRet"])]


def main():
    path, *command = sys.argv[1:]
    with open(path, encoding="utf-8") as file:
        code = program(json.load(file))
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(packed)
    loaded = struct.pack("@HP", len(code), ctypes.addressof(buffer))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(loaded))]:
        if libc.prctl(*arguments) != 0:
            sys.exit(f"prctl: {errno.errorcode[ctypes.get_errno()]}")
    os.execvp(command[0], command)


main()
