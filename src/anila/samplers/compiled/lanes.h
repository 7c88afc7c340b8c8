// What the C++ made by lanes.py is built on: a vector V holds one number of several chains, a mask M one truth value.
// `real` is float or double.

constexpr int BYTES =
#if defined(__AVX512F__)
    64;
#elif defined(__AVX__)
    32;
#else
    16;
#endif

#define NOINLINE __attribute__((noinline))

template <int BYTES> struct Vector {
    typedef real V __attribute__((vector_size(BYTES)));
};
template <class V> constexpr int lanes = sizeof(V) / sizeof(real);
template <class V> using Mask = decltype(V{} < V{});

template <class V> inline V all(real a) { return a - V{}; }
template <class V> inline V pick(Mask<V> chosen, V yes, V no) { return chosen ? yes : no; }

// NaN stays NaN, as in torch.
template <class V> inline V larger(V a, V b) { return (a > b) | (a != a) ? a : b; }
template <class V> inline V smaller(V a, V b) { return (a < b) | (a != a) ? a : b; }

template <class V> inline V square(V a) { return a * a; }
template <class V> inline V cube(V a) { return a * a * a; }
template <class V> inline V absolute(V a) { return a > 0 ? a : V{} - a; }  // of −0 too
template <class V> inline V sign(V a) { return a > 0 ? all<V>(1) : a < 0 ? all<V>(-1) : V{}; }

template <class V, class F> inline V each(V a, F function) {
    V out;
    for (int l = 0; l < lanes<V>; l++) out[l] = function(a[l]);
    return out;
}

inline float root(float a) { return __builtin_sqrtf(a); }
inline double root(double a) { return __builtin_sqrt(a); }
template <class V> inline V root(V a) { return each(a, [](real x) { return root(x); }); }

// Functions of floats are polynomials of Cephes (Moshier 1992), to 1e-7; those of doubles the system's library, by lane.
constexpr float EXP[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                         4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
constexpr float LOG[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,  -1.2420140846e-1f, 1.4249322787e-1f,
                         -1.6668057665e-1f, 2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
constexpr float SIN[] = {-1.9515295891e-4f, 8.3321608736e-3f, -1.6666654611e-1f};
constexpr float COS[] = {2.443315711809948e-5f, -1.388731625493765e-3f, 4.166664568298827e-2f};
constexpr float TANH[] = {-17 / 315.0f, 2 / 15.0f, -1 / 3.0f};
constexpr float ERF_NEAR[] = {7.853861353153693e-5f,  -8.010193625184903e-4f, 5.188327685732524e-3f, -2.685381193529856e-2f,
                              1.128358514861418e-1f, -3.761262582423300e-1f, 1.128379165726710f};
constexpr float ERF[] = {1.061405429f, -1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f};
template <class V, int n> inline V polynomial(V x, const float (&coefficients)[n]) {
    V sum = all<V>(coefficients[0]);
    for (int i = 1; i < n; i++) sum = sum * x + coefficients[i];
    return sum;
}
template <class V> inline V power_of_two(Mask<V> n) { return (V)((n + 127) << 23); }

template <class V> inline V exponential(V a) {
    if constexpr (sizeof(real) == 8) return each(a, [](real x) { return (real)__builtin_exp(x); });
    V x = smaller(larger(a, all<V>(-104)), all<V>(89));
    V turns = (x * 1.44269504f + 12582912) - 12582912;  // to the nearest whole number
    V r = x - turns * 0.693359375f + turns * 2.12194440e-4f;
    V p = polynomial(r, EXP);
    Mask<V> n = __builtin_convertvector(turns, Mask<V>);
    return (p * r * r + r + 1) * power_of_two<V>(n / 2) * power_of_two<V>(n - n / 2);  // subnormal ones too
}

template <class V> inline V logarithm(V a) {
    if constexpr (sizeof(real) == 8) return each(a, [](real x) { return (real)__builtin_log(x); });
    Mask<V> subnormal = a < 1.17549435e-38f;
    V x = pick(subnormal, a * 8388608, a);
    Mask<V> bits = (Mask<V>)x, up = (bits & 0x7fffff) > 0x3504f3;  // above √2
    V r = (V)((bits & 0x7fffff) | 0x3f800000);
    r = pick(up, r * 0.5f, r) - 1;
    V e = __builtin_convertvector(((bits >> 23) & 255) - 127 - up + subnormal * 23, V);
    V p = polynomial(r, LOG);
    V found = (p * r * r * r - e * 2.12194440e-4f - 0.5f * r * r) + r + e * 0.693359375f;
    found = pick(a < __builtin_inff(), found, a);  // inf and NaN
    return pick(a > 0, found, pick(a == 0, all<V>(-__builtin_inff()), pick(a != a, a, all<V>(__builtin_nanf("")))));
}

template <class V> inline V sigmoid(V a) { return 1 / (1 + exponential(-a)); }
// Kahan's formulas, right where 1 + a rounds a away.
template <class V> inline V exponential_minus_one(V a) {
    V u = exponential(a);
    return pick(u == 1, a, pick((u < 0.5f) | (u > 1e9f), u - 1, (u - 1) * (a / logarithm(u))));
}
template <class V> inline V log_one_plus(V a) {
    V u = 1 + a;
    return pick(u == 1, a, pick(u == a, logarithm(u), logarithm(u) * (a / (u - 1))));
}

// sin or cos, as the quarter of a turn says that is added to a.
template <class V> inline V sine(V a, int quarter) {
    V quarters = (a * 0.636619772f + 12582912) - 12582912;  // to the nearest whole number
    V r = a - quarters * 1.5703125f - quarters * 4.837512969970703125e-4f - quarters * 7.549789948768648e-8f, z = r * r;
    V sin = r + r * z * polynomial(z, SIN), cos = 1 - 0.5f * z + z * z * polynomial(z, COS);
    Mask<V> q = __builtin_convertvector(quarters, Mask<V>) + quarter;
    V found = pick((q & 1) != 0, cos, sin);
    found = pick((q & 2) != 0, -found, found);
    Mask<V> far = !(absolute(a) < 8192);
    for (int l = 0; l < lanes<V>; l++)
        if (far[l]) found[l] = quarter ? __builtin_cosf(a[l]) : __builtin_sinf(a[l]);
    return found;
}
template <class V> inline V sine(V a) {
    if constexpr (sizeof(real) == 8) return each(a, [](real x) { return (real)__builtin_sin(x); });
    else return sine(a, 0);
}
template <class V> inline V cosine(V a) {
    if constexpr (sizeof(real) == 8) return each(a, [](real x) { return (real)__builtin_cos(x); });
    else return sine(a, 1);
}

template <class V> inline V hyperbolic_tangent(V a) {
    if constexpr (sizeof(real) == 8) return each(a, [](real x) { return (real)__builtin_tanh(x); });
    V z = a * a, e = exponential(-2 * absolute(a)), far = (1 - e) / (1 + e);
    return pick(absolute(a) < 0.2f, a + a * z * polynomial(z, TANH), pick(a < 0, -far, far));
}

// Beyond 1 Abramowitz & Stegun 1964, 7.1.26.
template <class V> inline V error_function(V a) {
    if constexpr (sizeof(real) == 8) return each(a, [](real x) { return (real)__builtin_erf(x); });
    V t = 1 / (1 + 0.3275911f * absolute(a)), far = 1 - t * polynomial(t, ERF) * exponential(-a * a);
    return pick(absolute(a) < 1, a * polynomial(a * a, ERF_NEAR), pick(a < 0, -far, far));
}

// Functions that densities seldom need: the system's library, by lane, in the precision of `real`.
#define BY_LANE(name, function)                                                               \
    inline float name(float a) { return __builtin_##function##f(a); }                         \
    inline double name(double a) { return __builtin_##function(a); }                          \
    template <class V> inline V name(V a) { return each(a, [](real x) { return name(x); }); }
BY_LANE(arc_cosine, acos)
BY_LANE(arc_sine, asin)
BY_LANE(arc_tangent, atan)
BY_LANE(complementary_error_function, erfc)
BY_LANE(floor, floor)
BY_LANE(hyperbolic_cosine, cosh)
BY_LANE(hyperbolic_sine, sinh)
BY_LANE(inverse_hyperbolic_sine, asinh)
BY_LANE(tangent, tan)

template <class V> inline V power(V a, V b) {
    for (int l = 0; l < lanes<V>; l++) a[l] = sizeof(real) == 8 ? __builtin_pow(a[l], b[l]) : __builtin_powf(a[l], b[l]);
    return a;
}
template <class V> inline V angle(V a, V b) {
    for (int l = 0; l < lanes<V>; l++) a[l] = __builtin_atan2(a[l], b[l]);
    return a;
}

// The series of Stirling from 8 on, after as many steps of Γ(x + 1) = x Γ(x); for x < ½ by Γ(x) Γ(1 − x) = π / sin πx.
// The system's lgamma writes a sign that all threads share.
inline double log_gamma_above(double x) {
    double product = 1;
    for (; x < 8; x++) product *= x;
    double z = 1 / (x * x);
    double series = (((((-691 / 360360.0 * z + 1 / 1188.0) * z - 1 / 1680.0) * z + 1 / 1260.0) * z - 1 / 360.0) * z + 1 / 12.0) / x;
    return (x - 0.5) * __builtin_log(x) - x + 0.91893853320467274 + series - __builtin_log(product);
}
inline double sine_of_turns(double x) {  // sin πx, to the last digit beside whole numbers too
    double n = __builtin_rint(x), sign = __builtin_fmod(n, 2) == 0 ? 1 : -1;
    return sign * __builtin_sin(3.14159265358979324 * (x - n));
}
inline double log_gamma(double x) {
    if (x != x || x == __builtin_inf()) return x;
    if (x == -__builtin_inf() || (x <= 0 && x == __builtin_floor(x))) return __builtin_inf();
    if (x == 1 || x == 2) return 0;
    if (x >= 0.5) return log_gamma_above(x);
    if (__builtin_fabs(x) < 1e-18) return -__builtin_log(__builtin_fabs(x));
    return 1.14472988584940017 - __builtin_log(__builtin_fabs(sine_of_turns(x))) - log_gamma_above(1 - x);
}
inline double digamma(double x) {
    if (x == 0) return __builtin_copysign(__builtin_inf(), -x);
    if (x == __builtin_inf()) return x;
    if (x != x || (x < 0 && x == __builtin_floor(x))) return __builtin_nan("");
    double found = 0;
    if (x < 0) {
        double n = __builtin_rint(x), turn = 3.14159265358979324 * (x - n);
        found = -3.14159265358979324 / __builtin_tan(turn);
        x = 1 - x;
    }
    for (; x < 10; x++) found -= 1 / x;
    double z = 1 / (x * x);
    double series = z * ((((((1 / 12.0 * z - 691 / 32760.0) * z + 1 / 132.0) * z - 1 / 240.0) * z + 1 / 252.0) * z - 1 / 120.0) * z + 1 / 12.0);
    return found + __builtin_log(x) - 0.5 / x - series;
}
template <class V> inline V log_gamma(V a) { return each(a, [](real x) { return (real)log_gamma((double)x); }); }
template <class V> inline V digamma(V a) { return each(a, [](real x) { return (real)digamma((double)x); }); }

// An index of torch, which counts from the end too, kept within the axis.
inline long within(real i, long n) {
    long k = i < 0 ? (long)i + n : (long)i;
    return k < 0 ? 0 : k < n ? k : n - 1;
}

// out[n] = Σₖ a[k] w[k, n]: as many sums at a time as fit the registers.
template <int K, int N, class V> NOINLINE void matrix_product(const real* w, const V* a, V* out) {
    constexpr int most = BYTES == 64 ? 16 : 8;
    constexpr int at_once = N % most == 0 ? most : N % (most / 2) == 0 ? most / 2 : N % 4 == 0 ? 4 : 1;
    for (int n = 0; n < N; n += at_once) {
        V sum[at_once];
#pragma GCC unroll 16
        for (int j = 0; j < at_once; j++) sum[j] = V{};
        for (int k = 0; k < K; k++) {
            V x = a[k];
#pragma GCC unroll 16
            for (int j = 0; j < at_once; j++) sum[j] += x * w[k * N + n + j];
        }
#pragma GCC unroll 16
        for (int j = 0; j < at_once; j++) out[n + j] = sum[j];
    }
}

// Rows of (chains, size) numbers into lanes, and back. Lanes without a chain hold zeros.
template <int size, class V> inline void read(const real* from, int rows, V* to) {
    real by_number[size][lanes<V>] = {};
    for (int l = 0; l < rows; l++)
        for (int i = 0; i < size; i++) by_number[i][l] = from[l * size + i];
    __builtin_memcpy(to, by_number, sizeof by_number);
}
template <int size, class V> inline void write(real* to, int rows, const V* from) {
    real by_number[size][lanes<V>];
    __builtin_memcpy(by_number, from, sizeof by_number);
    for (int l = 0; l < rows; l++)
        for (int i = 0; i < size; i++) to[l * size + i] = by_number[i][l];
}
