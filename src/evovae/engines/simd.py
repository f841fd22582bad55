"""Sums of products over j, kept in vector registers.

These loops are most of what the fused engines do.  Compilers keep what is added to in memory, as it might overlap
the rest; written out in vector instructions `add_rows` is about three times as fast.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from evovae.engines.jit import part

LANES = 16  # floats in a vector; narrower machines split it
VECTOR = ir.VectorType(ir.FloatType(), LANES)
INDEX = ir.IntType(64)


def _accumulate(builder: Any, target: list, n: Any, ways: int, add: Callable, combine: Callable) -> None:  # noqa: ANN401
    """Combine the vectors at `target` with the sums of what add(j, sums) adds over j < n.

    `ways` sums run side by side, as each waits for itself.
    """
    sums = [[cgutils.alloca_once(builder, VECTOR) for _ in target] for _ in range(ways)]
    for way in sums:
        for held in way:
            builder.store(ir.Constant(VECTOR, [0.0] * LANES), held)
    step = ir.Constant(INDEX, ways)
    whole = builder.mul(builder.sdiv(n, step), step)
    with cgutils.for_range_slice(builder, ir.Constant(INDEX, 0), whole, step) as (j, _):
        for w, way in enumerate(sums):
            add(builder.add(j, ir.Constant(INDEX, w)), way)
    with cgutils.for_range_slice(builder, whole, n, ir.Constant(INDEX, 1)) as (j, _):
        add(j, sums[0])
    for pointer, *helds in zip(target, *sums, strict=True):
        total = builder.load(pointer, align=4)
        for held in helds:
            total = combine(total, builder.load(held), flags=("fast",))
        builder.store(total, pointer, align=4)


def _add_product(builder: Any, held: Any, one: Any, other: Any) -> None:  # noqa: ANN401
    """held += one * other."""
    product = builder.fmul(one, other, flags=("fast",))
    builder.store(builder.fadd(builder.load(held), product, flags=("fast",)), held)


def _tile(width: int, ways: int) -> Callable:
    """The loop of `add_rows` for columns start..start + width."""

    @intrinsic
    def tile(typingctx: Any, out: Any, rows: Any, idx: Any, val: Any, n: Any, start: Any) -> Any:  # noqa: ANN401
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            out_at, rows_at, idx_at, val_at = _arrays(context, builder, signature.args[:4], args[:4])
            n, start = args[4:]
            stride = builder.extract_value(rows_at.shape, 1)

            def add_row(j: Any, way: list) -> None:  # noqa: ANN401
                value = _splat(builder, builder.load(builder.gep(val_at.data, [j])))
                place = builder.add(builder.mul(builder.load(builder.gep(idx_at.data, [j])), stride), start)
                for held, row in zip(way, _vectors(builder, builder.gep(rows_at.data, [place]), width), strict=True):
                    _add_product(builder, held, value, builder.load(row, align=4))

            target = _vectors(builder, builder.gep(out_at.data, [start]), width)
            _accumulate(builder, target, n, ways, add_row, builder.fadd)
            return context.get_dummy_value()

        return types.void(out, rows, idx, val, types.int64, types.int64), generate

    return tile


def _products(ways: int) -> Callable:
    """The loop of `subtract_products`."""

    @intrinsic
    def subtract(typingctx: Any, out: Any, x: Any, first: Any, second: Any, stride: Any, n: Any) -> Any:  # noqa: ANN401
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            out_at, x_at = _arrays(context, builder, signature.args[:2], args[:2])
            first, second, stride, n = args[2:]

            def add_product(j: Any, way: list) -> None:  # noqa: ANN401
                places = (builder.add(start, builder.mul(j, stride)) for start in (first, second))
                rows = (_vectors(builder, builder.gep(x_at.data, [place]), LANES)[0] for place in places)
                _add_product(builder, way[0], *(builder.load(row, align=4) for row in rows))

            _accumulate(builder, _vectors(builder, out_at.data, LANES), n, ways, add_product, builder.fsub)
            return context.get_dummy_value()

        return types.void(out, x, types.int64, types.int64, types.int64, types.int64), generate

    return subtract


def _arrays(context: Any, builder: Any, kinds: Any, args: Any) -> list:  # noqa: ANN401
    return [context.make_array(kind)(context, builder, arg) for kind, arg in zip(kinds, args, strict=True)]


def _vectors(builder: Any, pointer: Any, width: int) -> list:  # noqa: ANN401
    places = (builder.gep(pointer, [ir.Constant(INDEX, k)]) for k in range(0, width, LANES))
    return [builder.bitcast(place, VECTOR.as_pointer()) for place in places]


def _splat(builder: Any, value: Any) -> Any:  # noqa: ANN401
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


_wide, _narrow, _subtract = _tile(4 * LANES, 2), _tile(LANES, 4), _products(2)


@part
def subtract_products(out: Any, x: Any, first: Any, second: Any, stride: Any, n: Any) -> None:  # noqa: ANN401
    """out (LANES,) -= sum of x[first + j * stride + lane] * x[second + j * stride + lane] over j < n; x is flat."""
    _subtract(out, x, first, second, stride, n)


@part
def add_rows(out: Any, rows: Any, idx: Any, val: Any, n: Any) -> None:  # noqa: ANN401
    """out (D,) += sum of val[j] * rows[idx[j]] over j < n; rows (K, D) are contiguous."""
    D = out.shape[0]
    wide, narrow = D // (4 * LANES) * (4 * LANES), D // LANES * LANES
    for d in range(0, wide, 4 * LANES):
        _wide(out, rows, idx, val, n, d)
    for d in range(wide, narrow, LANES):
        _narrow(out, rows, idx, val, n, d)
    if narrow < D:
        for j in range(n):
            i, v = idx[j], val[j]
            for d in range(narrow, D):
                out[d] += v * rows[i, d]
