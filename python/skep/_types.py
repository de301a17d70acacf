# C types of an object as ctypes classes: what keys, values and records are read with.
import ctypes
from ctypes import byref

from ._library import (TYPE_ARRAY, TYPE_ENUM, TYPE_FLOAT, TYPE_INT, TYPE_POINTER, TYPE_STRUCT, TYPE_UNION, Member, Type,
                       call)

_SIGNED = {1: ctypes.c_int8, 2: ctypes.c_int16, 4: ctypes.c_int32, 8: ctypes.c_int64}
_UNSIGNED = {1: ctypes.c_uint8, 2: ctypes.c_uint16, 4: ctypes.c_uint32, 8: ctypes.c_uint64}


class Types:
    """The types of one object by their numbers."""

    def __init__(self, object_handle):
        self._object = object_handle
        self._made = {}

    def describe(self, number):
        described = Type()
        call.object_type(self._object, number, byref(described))
        return described

    def members(self, described):
        for index in range(described.count):
            member = Member()
            call.object_member(self._object, described.id, index, byref(member))
            yield member

    def ctype(self, number):
        """The class whose instances hold values of this type, or None for types without values."""
        described = self.describe(number)
        if described.id not in self._made:
            self._made[described.id] = self._make(described)
        return self._made[described.id]

    def _make(self, described):
        kind, size = described.kind, described.bytes
        if kind == TYPE_INT:
            if described.is_bool and size == 1:
                return ctypes.c_bool
            if described.name == b"char":
                return ctypes.c_char
            made = (_SIGNED if described.is_signed else _UNSIGNED).get(size)
            if made is None and size == 16:
                return ctypes.c_int64 * 2 if described.is_signed else ctypes.c_uint64 * 2
            return made
        if kind == TYPE_ENUM:
            return (_SIGNED if described.is_signed else _UNSIGNED).get(size)
        if kind == TYPE_POINTER:
            return ctypes.c_uint64
        if kind == TYPE_FLOAT:
            return {4: ctypes.c_float, 8: ctypes.c_double}.get(size)
        if kind == TYPE_ARRAY:
            element = self.ctype(described.type)
            return None if element is None else element * described.count
        if kind in (TYPE_STRUCT, TYPE_UNION):
            return self._make_composite(described)
        return None

    def _make_composite(self, described):
        fields, anonymous, offsets = [], [], {}
        for place, member in enumerate(self.members(described)):
            made = self.ctype(member.type)
            if made is None:
                return _opaque(described)
            name = member.name.decode()
            if not name:
                name = "__anon%d" % len(anonymous)
                anonymous.append(name)
            fields.append((name, made, member.bit_size) if member.bit_size else (name, made))
            offsets[name] = member.bit_offset
        base = ctypes.Union if described.kind == TYPE_UNION else ctypes.Structure
        name = described.name.decode() or "anonymous"
        for attributes in ({}, {"_pack_": 1}):
            try:
                made = type(name, (base,), {**attributes, "_anonymous_": anonymous, "_fields_": fields})
            except (TypeError, ValueError):
                return _opaque(described)
            if ctypes.sizeof(made) == described.bytes and _is_laid_out(made, fields, offsets):
                return made
        return _padded(name, base, anonymous, fields, offsets, described)


def _is_laid_out(made, fields, offsets):
    for name, kind, *bits in fields:
        at = getattr(made, name)
        begin = at.offset * 8 + (at.size & 0xffff if bits else 0)
        if begin != offsets[name]:
            return False
    return True


def _padded(name, base, anonymous, fields, offsets, described):
    """Members that are aligned otherwise than by their types: every gap becomes a member."""
    if base is ctypes.Union or any(len(field) == 3 for field in fields):
        return _opaque(described)
    laid_out, at = [], 0
    for member, kind in fields:
        gap = offsets[member] // 8 - at
        if gap < 0:
            return _opaque(described)
        if gap:
            laid_out.append(("__pad_%d" % at, ctypes.c_uint8 * gap))
        laid_out.append((member, kind))
        at += gap + ctypes.sizeof(kind)
    if at < described.bytes:
        laid_out.append(("__pad_%d" % at, ctypes.c_uint8 * (described.bytes - at)))
    return type(name, (base,), {"_pack_": 1, "_anonymous_": anonymous, "_fields_": laid_out})


def _opaque(described):
    """Bytes of the right size, where ctypes cannot say what is in them."""
    return ctypes.c_uint8 * described.bytes if described.bytes else None


def for_size(size):
    """A type for values of which only the size is known."""
    return _UNSIGNED.get(size) or ctypes.c_uint8 * size
