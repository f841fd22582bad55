"""out += sum_j val[j] * rows[idx[j]], with the sums kept in vector registers.

This one loop is most of what the fused engine does.  Compilers keep `out` in memory, as it might
overlap `rows`; written out in vector instructions it is about three times as fast.
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


def _tile(width: int, ways: int) -> Callable:
    """The loop over all j for columns start..start + width; `ways` sums run side by side, as each waits for itself."""

    @intrinsic
    def tile(typingctx: Any, out: Any, rows: Any, idx: Any, val: Any, n: Any, start: Any) -> Any:  # noqa: ANN401
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            arrays = (
                context.make_array(t)(context, builder, a) for t, a in zip(signature.args, args[:4], strict=False)
            )
            out_at, rows_at, idx_at, val_at = arrays
            n, start = args[4:]
            stride = builder.extract_value(rows_at.shape, 1)
            target = _vectors(builder, builder.gep(out_at.data, [start]), width)
            sums = [[cgutils.alloca_once(builder, VECTOR) for _ in target] for _ in range(ways)]
            for way in sums:
                for held in way:
                    builder.store(ir.Constant(VECTOR, [0.0] * LANES), held)

            def add_row(j: Any, way: list) -> None:  # noqa: ANN401
                value = _splat(builder, builder.load(builder.gep(val_at.data, [j])))
                place = builder.add(builder.mul(builder.load(builder.gep(idx_at.data, [j])), stride), start)
                for held, row in zip(way, _vectors(builder, builder.gep(rows_at.data, [place]), width), strict=True):
                    product = builder.fmul(value, builder.load(row, align=4), flags=("fast",))
                    builder.store(builder.fadd(builder.load(held), product, flags=("fast",)), held)

            step = ir.Constant(INDEX, ways)
            whole = builder.mul(builder.sdiv(n, step), step)
            with cgutils.for_range_slice(builder, ir.Constant(INDEX, 0), whole, step) as (j, _):
                for w, way in enumerate(sums):
                    add_row(builder.add(j, ir.Constant(INDEX, w)), way)
            with cgutils.for_range_slice(builder, whole, n, ir.Constant(INDEX, 1)) as (j, _):
                add_row(j, sums[0])
            for pointer, *helds in zip(target, *sums, strict=True):
                total = builder.load(pointer, align=4)
                for held in helds:
                    total = builder.fadd(total, builder.load(held), flags=("fast",))
                builder.store(total, pointer, align=4)
            return context.get_dummy_value()

        return types.void(out, rows, idx, val, types.int64, types.int64), generate

    return tile


def _vectors(builder: Any, pointer: Any, width: int) -> list:  # noqa: ANN401
    places = (builder.gep(pointer, [ir.Constant(INDEX, k)]) for k in range(0, width, LANES))
    return [builder.bitcast(place, VECTOR.as_pointer()) for place in places]


def _splat(builder: Any, value: Any) -> Any:  # noqa: ANN401
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _subtract_products(ways: int) -> Callable:
    """The loop of `subtract_products`; `ways` sums run side by side."""

    @intrinsic
    def subtract(typingctx: Any, out: Any, x: Any, first: Any, second: Any, stride: Any, n: Any) -> Any:  # noqa: ANN401
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ANN401
            out_at, x_at = (
                context.make_array(t)(context, builder, a) for t, a in zip(signature.args[:2], args[:2], strict=True)
            )
            first, second, stride, n = args[2:]
            (target,) = _vectors(builder, out_at.data, LANES)
            sums = [cgutils.alloca_once(builder, VECTOR) for _ in range(ways)]
            for held in sums:
                builder.store(ir.Constant(VECTOR, [0.0] * LANES), held)

            def add_product(j: Any, held: Any) -> None:  # noqa: ANN401
                step = builder.mul(j, stride)
                places = (builder.gep(x_at.data, [builder.add(start, step)]) for start in (first, second))
                one, other = (builder.load(_vectors(builder, place, LANES)[0], align=4) for place in places)
                product = builder.fmul(one, other, flags=("fast",))
                builder.store(builder.fadd(builder.load(held), product, flags=("fast",)), held)

            step = ir.Constant(INDEX, ways)
            whole = builder.mul(builder.sdiv(n, step), step)
            with cgutils.for_range_slice(builder, ir.Constant(INDEX, 0), whole, step) as (j, _):
                for w, held in enumerate(sums):
                    add_product(builder.add(j, ir.Constant(INDEX, w)), held)
            with cgutils.for_range_slice(builder, whole, n, ir.Constant(INDEX, 1)) as (j, _):
                add_product(j, sums[0])
            total = builder.load(target, align=4)
            for held in sums:
                total = builder.fsub(total, builder.load(held), flags=("fast",))
            builder.store(total, target, align=4)
            return context.get_dummy_value()

        return types.void(out, x, types.int64, types.int64, types.int64, types.int64), generate

    return subtract


_wide, _narrow = _tile(4 * LANES, 2), _tile(LANES, 4)

_subtract = _subtract_products(2)


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
