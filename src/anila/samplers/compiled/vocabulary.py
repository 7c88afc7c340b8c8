"""The functions of lanes.h for torch's operations: elementwise, reductions, and views."""

import operator
from typing import Any

import torch

from anila.samplers.compiled.torch_internals import CONVERT

aten = torch.ops.aten

ARITHMETIC: dict[Any, str] = {
    aten.abs.default: "absolute({0})",
    aten.acos.default: "arc_cosine({0})",
    aten.add.Scalar: "{0} + {1}",
    aten.add.Tensor: "{0} + {1}",
    aten.asin.default: "arc_sine({0})",
    aten.asinh.default: "inverse_hyperbolic_sine({0})",
    aten.atan.default: "arc_tangent({0})",
    aten.atan2.default: "angle({0}, {1})",
    aten.bitwise_and.Tensor: "{0} & {1}",
    aten.bitwise_not.default: "~{0}",
    aten.bitwise_or.Tensor: "{0} | {1}",
    aten.clone.default: "{0}",
    aten.cos.default: "cosine({0})",
    aten.cosh.default: "hyperbolic_cosine({0})",
    aten.digamma.default: "digamma({0})",
    aten.div.Scalar: "{0} / {1}",
    aten.div.Tensor: "{0} / {1}",
    aten.eq.Scalar: "{0} == {1}",
    aten.eq.Tensor: "{0} == {1}",
    aten.erf.default: "error_function({0})",
    aten.erfc.default: "complementary_error_function({0})",
    aten.exp.default: "exponential({0})",
    aten.expm1.default: "exponential_minus_one({0})",
    aten.floor.default: "floor({0})",
    aten.ge.Scalar: "{0} >= {1}",
    aten.ge.Tensor: "{0} >= {1}",
    aten.gt.Scalar: "{0} > {1}",
    aten.gt.Tensor: "{0} > {1}",
    aten.isinf.default: "(absolute({0}) == __builtin_inf())",
    aten.isnan.default: "({0} != {0})",
    aten.le.Scalar: "{0} <= {1}",
    aten.le.Tensor: "{0} <= {1}",
    aten.lgamma.default: "log_gamma({0})",
    aten.log.default: "logarithm({0})",
    aten.log10.default: "logarithm({0}) * (real)0.43429448190325182",
    aten.log1p.default: "log_one_plus({0})",
    aten.log2.default: "logarithm({0}) * (real)1.4426950408889634",
    aten.logical_and.default: "{0} & {1}",
    aten.logical_not.default: "~{0}",
    aten.logical_or.default: "{0} | {1}",
    aten.lt.Scalar: "{0} < {1}",
    aten.lt.Tensor: "{0} < {1}",
    aten.maximum.default: "larger({0}, {1})",
    aten.minimum.default: "smaller({0}, {1})",
    aten.mul.Scalar: "{0} * {1}",
    aten.mul.Tensor: "{0} * {1}",
    aten.ne.Scalar: "{0} != {1}",
    aten.ne.Tensor: "{0} != {1}",
    aten.neg.default: "-{0}",
    aten.pow.Scalar: "power({0}, {1})",
    aten.pow.Tensor_Tensor: "power({0}, {1})",
    aten.reciprocal.default: "1 / {0}",
    aten.relu.default: "larger({0}, V{{}})",
    aten.rsqrt.default: "1 / root({0})",
    aten.sigmoid.default: "sigmoid({0})",
    aten.sign.default: "sign({0})",
    aten.sin.default: "sine({0})",
    aten.sinh.default: "hyperbolic_sine({0})",
    aten.sqrt.default: "root({0})",
    aten.sub.Scalar: "{0} - {1}",
    aten.sub.Tensor: "{0} - {1}",
    aten.tan.default: "tangent({0})",
    aten.tanh.default: "hyperbolic_tangent({0})",
    aten.where.self: "pick({0}, {1}, {2})",
}
"""Elementwise operations, in terms of lanes.h."""
WHOLE = {
    aten.add.Tensor,
    aten.mul.Tensor,
    aten.neg.default,
    aten.sub.Tensor,
    aten.where.self,
    operator.getitem,
    CONVERT,
}
"""Those of them that may return integers, which are kept as real numbers."""
LOGICAL = {
    aten.bitwise_and.Tensor, aten.bitwise_not.default, aten.bitwise_or.Tensor, aten.clone.default, aten.copy.default,
    aten.eq.Tensor, aten.logical_and.default, aten.logical_not.default, aten.logical_or.default, aten.mul.Tensor,
    aten.ne.Tensor, aten.where.self, CONVERT,
}  # fmt: skip
"""Those of them that accept truth values."""
NUMBER = "pick({0}, all<V>(1), V{{}})"
"""A truth value as a number."""
POWERS = {
    2: "square({0})",
    3: "cube({0})",
    4: "square(square({0}))",
    0.5: "root({0})",
    -0.5: "1 / root({0})",
    -1: "1 / {0}",
    1: "{0}",
}
REDUCTIONS: dict[Any, tuple[str, str, str]] = {
    aten.all.dim: ("~M{}", "{0} & {1}", ""),
    aten.amax.default: ("all<V>(-__builtin_inf())", "larger({0}, {1})", ""),
    aten.amin.default: ("all<V>(__builtin_inf())", "smaller({0}, {1})", ""),
    aten.any.dim: ("M{}", "{0} | {1}", ""),
    aten.linalg_vector_norm.default: ("V{}", "{0} + square({1})", "root({0})"),
    aten.mean.dim: ("V{}", "{0} + {1}", "{0} / {1}"),
    aten.prod.dim_int: ("all<V>(1)", "{0} * {1}", ""),
    aten.sum.dim_IntList: ("V{}", "{0} + {1}", ""),
}
"""For each reduction: its initial value, the update by the next number, and the final result from it and the count."""
VIEWS = {
    aten.alias.default, aten.detach.default, aten.diagonal.default, aten.expand.default, aten.permute.default,
    aten.select.int, aten.slice.Tensor, aten.squeeze.dim, aten.squeeze.dims, aten.t.default, aten.transpose.int,
    aten.unsqueeze.default, aten.view.default,
}  # fmt: skip
PIECES = {
    aten.cat.default: None,
    aten.diagonal_scatter.default: aten.diagonal.default,
    aten.select_scatter.default: aten.select.int,
    aten.slice_scatter.default: aten.slice.Tensor,
}
"""Operations that put a tensor together, and the view of the whole into which a part is written."""
