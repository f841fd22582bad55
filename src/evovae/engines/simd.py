"""What numba and llvmlite do in parts that may change without notice, with plain loops for where they did.

Sums of products over j are most of what the engine for networks does.  Compilers keep what is added to in memory, as it
might overlap the rest: with vector registers, steps take up to a quarter less time.  Counting zeros by one instruction
saves small models a tenth; subtracting products, the engine for subspaces as much.
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


@part
def subtract_plainly(out, x, first, second, stride, n):
    """out (LANES,) -= sum of x[first + j * stride + lane] * x[second + j * stride + lane], j < n; x is of rows."""
    width = x.shape[1]
    for j in range(n):
        one, other = first + j * stride, second + j * stride
        for lane in range(LANES):
            out[lane] -= x[one // width, one % width + lane] * x[other // width, other % width + lane]


def _vectors(builder, pointer, width):
    """Pointers to all vectors of so many floats."""
    places = (builder.gep(pointer, [ir.IntType(64)(k)]) for k in range(0, width, LANES))
    return [builder.bitcast(place, ir.VectorType(ir.FloatType(), LANES).as_pointer()) for place in places]


def _accumulate(builder, target, n, ways, products, combine):
    """Combine the vectors at `target` with the sums of products(j) over j < n; so many sums side by side, as each waits
    for itself.
    """
    index, zeros = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)([0.0] * LANES)
    sums = [[cgutils.alloca_once_value(builder, zeros) for _ in target] for _ in range(ways)]

    def add(j, way):
        for held, (one, other) in zip(way, products(j), strict=True):
            product = builder.fmul(one, other, flags=("fast",))
            builder.store(builder.fadd(builder.load(held), product, flags=("fast",)), held)

    whole = builder.mul(builder.sdiv(n, index(ways)), index(ways))
    with cgutils.for_range_slice(builder, index(0), whole, index(ways)) as (j, _):
        for w, way in enumerate(sums):
            add(builder.add(j, index(w)), way)
    with cgutils.for_range_slice(builder, whole, n, index(1)) as (j, _):
        add(j, sums[0])
    for pointer, *helds in zip(target, *sums, strict=True):
        total = builder.load(pointer, align=4)
        for held in helds:
            total = combine(total, builder.load(held), flags=("fast",))
        builder.store(total, pointer, align=4)


def _arrays(context, builder, kinds, args):
    return [context.make_array(kind)(context, builder, arg) for kind, arg in zip(kinds, args, strict=True)]


def _tile(width, ways):
    """The loop of `add_rows` for columns start..start + width."""
    lanes = ir.VectorType(ir.IntType(32), LANES)([0] * LANES)

    def generate(context, builder, signature, args):
        out, rows, idx, val = _arrays(context, builder, signature.args[:4], args[:4])
        n, start = args[4:]

        def products(j):
            value = builder.load(builder.gep(val.data, [j]))
            one = builder.insert_element(ir.VectorType(ir.FloatType(), LANES)(ir.Undefined), value, ir.IntType(32)(0))
            at = builder.mul(builder.load(builder.gep(idx.data, [j])), builder.extract_value(rows.shape, 1))
            places = _vectors(builder, builder.gep(rows.data, [builder.add(at, start)]), width)
            value = builder.shuffle_vector(one, one, lanes)
            return [(value, builder.load(place, align=4)) for place in places]

        target = _vectors(builder, builder.gep(out.data, [start]), width)
        _accumulate(builder, target, n, ways, products, builder.fadd)
        return context.get_dummy_value()

    @intrinsic
    def tile(typingctx, out, rows, idx, val, n, start):
        return types.void(out, rows, idx, val, types.int64, types.int64), generate

    return tile


def _subtractor(ways):
    """The loop of `subtract_plainly`."""

    def generate(context, builder, signature, args):
        out, x = _arrays(context, builder, signature.args[:2], args[:2])
        first, second, stride, n = args[2:]

        def products(j):
            places = (builder.add(start, builder.mul(j, stride)) for start in (first, second))
            rows = (_vectors(builder, builder.gep(x.data, [place]), LANES)[0] for place in places)
            return [tuple(builder.load(row, align=4) for row in rows)]

        _accumulate(builder, _vectors(builder, out.data, LANES), n, ways, products, builder.fsub)
        return context.get_dummy_value()

    @intrinsic
    def subtract(typingctx, out, x, first, second, stride, n):
        return types.void(out, x, types.int64, types.int64, types.int64, types.int64), generate

    return subtract


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

    _wide, _narrow = _tile(4 * LANES, 2), _tile(LANES, 4)
    subtract_products, trailing_zeros = _subtractor(2), _counter()
except (ImportError, AttributeError):
    _wide = _narrow = None
    subtract_products, trailing_zeros = subtract_plainly, count_plainly


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
