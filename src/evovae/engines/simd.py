"""What numba and llvmlite do in parts that may change without notice, with plain loops for where they did.

Sums of products over j are most of what the engine for networks does.  Compilers keep what is added to in memory, as it
might overlap the rest: with vector registers, steps take up to a quarter less time.  Counting zeros by one instruction
saves small models a tenth.
"""

import numpy as np
from numba import types, uint64
from numba.extending import intrinsic

from evovae.engines.jit import part

LANES = 16  # floats in a vector; narrower machines split it


@part
def add_plainly(out, rows, idx, val, n, start):
    """out[start:] += sum of val[j] * rows[idx[j], start:] over j < n."""
    for j in range(n):
        i, v = idx[j], val[j]
        for d in range(start, out.shape[0]):
            out[d] += v * rows[i, d]


@part
def count_plainly(v):
    """How many low bits of an unsigned integer are zero before its first one: the exponent of its worth."""
    return (np.float64(v & (~v + uint64(1))).view(np.int64) >> 52) - 1023


def _tile(width, ways):
    """Sums for columns start..start + width, so many side by side, as each waits for itself."""
    vector, index = ir.VectorType(ir.FloatType(), LANES), ir.IntType(64)

    def generate(context, builder, signature, args):
        kinds = zip(signature.args[:4], args[:4], strict=True)
        out, rows, idx, val = (context.make_array(kind)(context, builder, arg) for kind, arg in kinds)
        n, start = args[4:]

        def vectors(pointer):
            places = (builder.gep(pointer, [index(k)]) for k in range(0, width, LANES))
            return [builder.bitcast(place, vector.as_pointer()) for place in places]

        def add(j, way):
            one = builder.insert_element(vector(ir.Undefined), builder.load(builder.gep(val.data, [j])), index(0))
            value = builder.shuffle_vector(one, one, ir.VectorType(ir.IntType(32), LANES)([0] * LANES))
            at = builder.mul(builder.load(builder.gep(idx.data, [j])), builder.extract_value(rows.shape, 1))
            for held, row in zip(way, vectors(builder.gep(rows.data, [builder.add(at, start)])), strict=True):
                product = builder.fmul(value, builder.load(row, align=4), flags=("fast",))
                builder.store(builder.fadd(builder.load(held), product, flags=("fast",)), held)

        target = vectors(builder.gep(out.data, [start]))
        sums = [[cgutils.alloca_once_value(builder, vector([0.0] * LANES)) for _ in target] for _ in range(ways)]
        whole = builder.mul(builder.sdiv(n, index(ways)), index(ways))
        with cgutils.for_range_slice(builder, index(0), whole, index(ways)) as (j, _):
            for w, way in enumerate(sums):
                add(builder.add(j, index(w)), way)
        with cgutils.for_range_slice(builder, whole, n, index(1)) as (j, _):
            add(j, sums[0])
        for pointer, *helds in zip(target, *sums, strict=True):
            total = builder.load(pointer, align=4)
            for held in helds:
                total = builder.fadd(total, builder.load(held), flags=("fast",))
            builder.store(total, pointer, align=4)
        return context.get_dummy_value()

    @intrinsic
    def tile(typingctx, out, rows, idx, val, n, start):
        return types.void(out, rows, idx, val, types.int64, types.int64), generate

    return tile


def _counter():
    """Of zeros, by an instruction."""

    @intrinsic
    def trailing_zeros(typingctx, v):
        def generate(context, builder, signature, args):
            return builder.cttz(args[0], ir.IntType(1)(1))

        return types.int64(types.uint64), generate

    return trailing_zeros


try:
    from llvmlite import ir
    from numba.core import cgutils

    _wide, _narrow, trailing_zeros = _tile(4 * LANES, 2), _tile(LANES, 4), _counter()
except (ImportError, AttributeError):
    _wide = _narrow = None
    trailing_zeros = count_plainly


@part
def add_rows(out, rows, idx, val, n):
    """out (D,) += sum of val[j] * rows[idx[j]] over j < n; rows (K, D) are contiguous."""
    start = 0
    if _wide is not None:
        wide, start = out.shape[0] // (4 * LANES) * (4 * LANES), out.shape[0] // LANES * LANES
        for d in range(0, wide, 4 * LANES):
            _wide(out, rows, idx, val, n, d)
        for d in range(wide, start, LANES):
            _narrow(out, rows, idx, val, n, d)
    if start < out.shape[0]:
        add_plainly(out, rows, idx, val, n, start)
