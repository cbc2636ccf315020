// The steps of a prior as a list of operations, run slot after slot by a team of threads.
//
// Weights lie in panels of L outputs, [outputs / L][inputs][L]: a vector of L outputs is one load, an input is
// broadcast to all of them, and no sum goes across a vector. Each output is summed in the order of the inputs,
// so that a row's result does not depend on the rows beside it. Activations are float32, rows one after another.
// A step takes one slot of each sequence, or several at once (`tokens`), which share the sequence's keys.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int L = 16;
#elif defined(__AVX__)
constexpr int L = 8;
#else
constexpr int L = 4;
#endif

typedef float V __attribute__((vector_size(4 * L)));
typedef int32_t I __attribute__((vector_size(4 * L)));
typedef int16_t S __attribute__((vector_size(2 * L)));
typedef float Vu __attribute__((vector_size(4 * L), aligned(4)));
typedef uint16_t Hu __attribute__((vector_size(2 * L), aligned(2)));
typedef int8_t Cu __attribute__((vector_size(L), aligned(1)));
typedef int64_t N;
struct bfloat16 { uint16_t bits; };

struct Op {
    N kind;
    N n[8];       // sizes
    void* p[12];  // tensors
    float f[4];
};

enum Kind { EMBED, LINEAR, ATTEND, CONVOLVE, SCAN, DRAW, SETTLE };
enum Activation { NONE, GELU, SOFTPLUS, SQUARED_RELU };
enum Weights { FLOAT32, BFLOAT16, INT8 };

// Narrow weights widen in one instruction, exactly; left to itself GCC takes several, and the step waits for them.
static inline V load(const float* p) { return *(const Vu*)p; }
static inline V load(const int8_t* p) {
#if defined(__AVX512F__)
    return (V)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)));
#elif defined(__AVX2__)
    return (V)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
#else
    const S wide = __builtin_convertvector(*(const Cu*)p, S);  // in one step GCC goes lane by lane
    return __builtin_convertvector(__builtin_convertvector(wide, I), V);
#endif
}
static inline V load(const bfloat16* p) {
#if defined(__AVX512F__)
    return (V)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16);
#elif defined(__AVX2__)
    return (V)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16);
#else
    const I wide = __builtin_convertvector(*(const Hu*)p, I) << 16;
    return (V)wide;
#endif
}
static inline void store(float* p, V v) { *(Vu*)p = v; }
static inline V all(float x) { return V{} + x; }
static inline N whole(N count) { return (count + L - 1) / L * L; }  // numbers in whole vectors

static float sum(V v) {
    float s = 0;
    for (int i = 0; i < L; i++) s += v[i];
    return s;
}

// e^x to two units in the last place, by 2^n times a polynomial; what would vanish is 1e-38
static inline V exponential(V x) {
    x = x > 88.0f ? all(88.0f) : x;
    x = x < -87.0f ? all(-87.0f) : x;
    const V shift = all(12582912.0f);  // adding it rounds to an integer
    const V n = (x * 1.44269504f + shift) - shift;
    const V r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    V y = all(1.9875691500e-4f);
    for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f, 0.5f}) y = y * r + c;
    y = y * r * r + r + 1.0f;
    return (V)((I)y + (__builtin_convertvector(n, I) << 23));
}

static inline V sigmoid(V x) { return 1.0f / (1.0f + exponential(-x)); }

// log(1 + e^x) = max(x, 0) + 2 artanh(t / (2 + t)), t = e^-|x|
static inline V softplus(V x) {
    const V t = exponential(x > 0 ? -x : x), y = t / (2.0f + t), square = y * y;
    V series = all(1.0f / 17);
    for (int k = 15; k > 0; k -= 2) series = series * square + 1.0f / k;
    return (x > 0 ? x : V{}) + 2 * y * series;
}

static inline V activate(V x, N activation) {
    if (activation == GELU) return x * sigmoid(1.5957691216f * (x + 0.044715f * x * x * x));
    if (activation == SOFTPLUS) return softplus(x);
    if (activation == SQUARED_RELU) return x > 0 ? x * x : V{};
    return x;
}

struct Team {
    explicit Team(int size) : size(size) {}
    void wait() {
        const int now = phase.load(std::memory_order_acquire);
        if (waiting.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
            waiting.store(0, std::memory_order_relaxed);
            phase.store(now + 1, std::memory_order_release);
            return;
        }
        for (int spins = 0; phase.load(std::memory_order_acquire) == now; spins++)
            if (spins > 4096) std::this_thread::yield();
    }
    const int size;
    std::atomic<int> waiting{0}, phase{0};
};

struct Worker {
    int thread, threads;
    std::vector<float> scratch;
    float* room(N floats) {
        if ((N)scratch.size() < floats) scratch.resize(floats);
        return scratch.data();
    }
    N begin(N units) const { return units * thread / threads; }
    N end(N units) const { return units * (thread + 1) / threads; }
};

// x = code + position; the label in front of the first slot -----------------------------------------------------
static void embed(const Op& op, N slot, Worker& worker) {
    const N rows = op.n[0], width = op.n[1], length = op.n[2], samples = op.n[3];
    const N own = op.n[4], tokens = op.n[5];  // own: 1 where each sequence has positions of its own
    const auto* codes = (const N*)op.p[0];
    const auto *offset = (const N*)op.p[1], *labels = (const N*)op.p[2];
    const auto *code = (const float*)op.p[3], *label = (const float*)op.p[4], *position = (const float*)op.p[5];
    auto* x = (float*)op.p[6];
    for (N row = worker.begin(rows); row < worker.end(rows); row++) {
        const N sequence = row / tokens, at = slot + row % tokens;
        if (at >= length) continue;
        const float* from = at ? code + (codes[sequence % samples * length + at - 1] + offset[at - 1]) * width
                               : label + labels[sequence] * width;
        const float* place = position + (own * sequence * length + at) * width;
        for (N i = 0; i < width; i++) x[row * width + i] = from[i] + place[i];
    }
}

// y = activation(W norm(x) + b), or y += -----------------------------------------------------------------------
static float sum_of(const float* x, N width, float mean, bool squares) {
    V total = {};
    float rest = 0;
    N i = 0;
    for (; i + L <= width; i += L) {
        const V v = load(x + i) - mean;
        total += squares ? v * v : v;
    }
    for (; i < width; i++) rest += squares ? (x[i] - mean) * (x[i] - mean) : x[i] - mean;
    return sum(total) + rest;
}

static void normalise(const float* x, const float* weight, float* y, N width, float epsilon) {
    const float mean = sum_of(x, width, 0, false) / width;
    const float scale = 1.0f / std::sqrt(sum_of(x, width, mean, true) / width + epsilon);
    for (N i = 0; i < width; i++) y[i] = (x[i] - mean) * scale * weight[i];
}

// a layer normalisation with a bias, in place; none where there is no weight
struct Norm {
    const float *weight, *bias;
    float epsilon;

    void operator()(float* x, N width) const {
        if (!weight) return;
        normalise(x, weight, x, width, epsilon);
        for (N i = 0; i < width; i++) x[i] += bias[i];
    }
};

struct Linear {
    N inputs, outputs, x_stride, y_stride, activation, adds;
    const float *scale, *bias;

    void write(float* y, V v, N first) const {
        float lanes[L], *to = y + first;
        const N count = std::min<N>(L, outputs - first);
        if (scale) v *= load(scale + first);
        if (bias) v += load(bias + first);
        store(lanes, activate(v, activation));
        if (adds) for (N i = 0; i < count; i++) to[i] += lanes[i];
        else for (N i = 0; i < count; i++) to[i] = lanes[i];
    }

    template <int P, int M, class W>
    void tile(const W* weight, const float* x, float* y, N panel) const {
        V total[P][M] = {};
        const W* from = weight + panel * inputs * L;
        for (N k = 0; k < inputs; k++) {
            V w[P];
            for (int p = 0; p < P; p++) {
                w[p] = load(from + (p * inputs + k) * L);
                if (M > 1) __builtin_prefetch(from + ((P + p) * inputs + k) * L, 0, 2);  // the next panels
            }
            for (int m = 0; m < M; m++) {
                const V broadcast = all(x[m * x_stride + k]);
                for (int p = 0; p < P; p++) total[p][m] += w[p] * broadcast;
            }
        }
        for (int m = 0; m < M; m++)
            for (int p = 0; p < P; p++) write(y + m * y_stride, total[p][m], (panel + p) * L);
    }

    template <int P, class W>
    void rows(const W* weight, const float* x, float* y, N panel, N batch) const {
        N row = 0;
        if (P <= 2)
            for (; row + 8 <= batch; row += 8) tile<P, P <= 2 ? 8 : 1>(weight, x + row * x_stride, y + row * y_stride, panel);
        if (P <= 4)
            for (; row + 4 <= batch; row += 4) tile<P, P <= 4 ? 4 : 1>(weight, x + row * x_stride, y + row * y_stride, panel);
        for (; row + 2 <= batch; row += 2) tile<P, 2>(weight, x + row * x_stride, y + row * y_stride, panel);
        for (; row < batch; row++) tile<P, 1>(weight, x + row * x_stride, y + row * y_stride, panel);
    }

    template <class W>
    void panels(const W* weight, const float* x, float* y, N first, N last, N batch) const {
        N panel = first;
        if (batch < 4)  // as many panels as registers hold
            for (; panel + 8 <= last; panel += 8) rows<8>(weight, x, y, panel, batch);
        if (batch < 8)
            for (; panel + 4 <= last; panel += 4) rows<4>(weight, x, y, panel, batch);
        for (; panel + 2 <= last; panel += 2) rows<2>(weight, x, y, panel, batch);
        for (; panel < last; panel++) rows<1>(weight, x, y, panel, batch);
    }
};

static void linear(const Op& op, Worker& worker) {
    const N batch = op.n[0], type = op.n[7];
    Linear layer{op.n[1], op.n[2], op.n[3], op.n[4], op.n[5], op.n[6], (const float*)op.p[3], (const float*)op.p[4]};
    const auto* x = (const float*)op.p[0];
    auto* y = (float*)op.p[5];
    const N panels = (layer.outputs + L - 1) / L, first = worker.begin(panels), last = worker.end(panels);
    if (const auto* norm = (const float*)op.p[1]) {
        float* normal = worker.room(batch * layer.inputs);
        for (N row = 0; row < batch; row++)
            normalise(x + row * layer.x_stride, norm, normal + row * layer.inputs, layer.inputs, op.f[0]);
        x = normal;
        layer.x_stride = layer.inputs;
    }
    if (type == FLOAT32) layer.panels((const float*)op.p[2], x, y, first, last, batch);
    if (type == BFLOAT16) layer.panels((const bfloat16*)op.p[2], x, y, first, last, batch);
    if (type == INT8) layer.panels((const int8_t*)op.p[2], x, y, first, last, batch);
}

// softmax attention to the keys and values of this slot and those before it in the window ---------------------------------------
struct Heads {
    N heads, kv_heads, width, padded, capacity, slot, begin;
    const float *cosine, *sine;

    void turn(float* x) const {
        if (!cosine) return;
        const N half = width / 2;
        for (N i = 0; i < half; i++) {
            const float a = x[i], b = x[i + half], c = cosine[slot * half + i], s = sine[slot * half + i];
            x[i] = a * c - b * s;
            x[i + half] = b * c + a * s;
        }
    }

    void keep(const float* k, const float* v, float* keys, float* values) const {
        for (N i = 0; i < width; i++) keys[(slot / L * width + i) * L + slot % L] = k[i];
        std::copy(v, v + width, values + slot * padded);
    }

    void attend(const float* q, const float* keys, const float* values, float* scores, float* y) const {
        const N panels = slot / L + 1, start = begin / L * L;
        for (N panel = begin / L; panel < panels; panel++) {
            V score[4] = {};
            for (N i = 0; i < width; i++) score[i % 4] += load(keys + (panel * width + i) * L) * q[i];
            store(scores + panel * L, (score[0] + score[1]) + (score[2] + score[3]));
        }
        std::fill(scores + slot + 1, scores + panels * L, -INFINITY);
        std::fill(scores + start, scores + begin, -INFINITY);
        V highest = load(scores + start), sums = {};
        for (N t = start + L; t < panels * L; t += L) highest = load(scores + t) > highest ? load(scores + t) : highest;
        float greatest = highest[0];
        for (int i = 1; i < L; i++) greatest = std::max(greatest, highest[i]);
        for (N t = start; t < panels * L; t += L) {
            const V weight = exponential(load(scores + t) - greatest);
            store(scores + t, weight);
            sums += weight;
        }
        const float total = sum(sums);
        for (N first = 0; first < padded; first += L) {
            V even = {}, odd = {};
            N t = begin;
            for (; t + 1 <= slot; t += 2) {
                even += load(values + t * padded + first) * scores[t];
                odd += load(values + (t + 1) * padded + first) * scores[t + 1];
            }
            if (t <= slot) even += load(values + t * padded + first) * scores[t];
            const V mean = (even + odd) / total;
            for (N i = first; i < std::min(width, first + L); i++) y[i] = mean[i - first];
        }
    }
};

static void attend(const Op& op, N slot, Worker& worker) {
    slot += op.n[7];  // the conditions in front
    const N sequences = op.n[0], width = op.n[3], tokens = op.n[4], length = op.n[5], window = op.n[6];
    Heads h{op.n[1], op.n[2], width, whole(width), whole(length), 0, 0, (const float*)op.p[4], (const float*)op.p[5]};
    const N group = h.heads / h.kv_heads, stride = (h.heads + 2 * h.kv_heads) * h.width;
    auto *qkv = (float*)op.p[0], *all_keys = (float*)op.p[1], *all_values = (float*)op.p[2], *y = (float*)op.p[3];
    float* scores = worker.room(h.capacity);
    const float root = 1.0f / std::sqrt((float)h.width);
    const Norm to_queries{(const float*)op.p[6], (const float*)op.p[7], op.f[0]};
    const Norm to_keys{(const float*)op.p[8], (const float*)op.p[9], op.f[0]};
    for (N unit = worker.begin(sequences * h.kv_heads); unit < worker.end(sequences * h.kv_heads); unit++) {
        float *keys = all_keys + unit * h.capacity * h.width, *values = all_values + unit * h.capacity * h.padded;
        const N head = unit % h.kv_heads;
        for (N row = unit / h.kv_heads * tokens, t = 0; t < tokens && slot + t < length; row++, t++) {
            h.slot = slot + t;
            h.begin = std::max<N>(0, h.slot + 1 - window);
            float *q = qkv + row * stride + head * group * h.width, *k = qkv + row * stride + (h.heads + head) * h.width;
            to_keys(k, h.width);
            h.turn(k);
            h.keep(k, k + h.kv_heads * h.width, keys, values);
            for (N g = 0; g < group; g++) {
                float* query = q + g * h.width;
                to_queries(query, h.width);
                h.turn(query);
                for (N i = 0; i < h.width; i++) query[i] *= root;
                h.attend(query, keys, values, scores, y + row * h.heads * h.width + (head * group + g) * h.width);
            }
        }
    }
}

// silu of a short causal convolution of each channel; past [batch][taps - 1][channels] --------------------------
static void convolve(const Op& op, Worker& worker) {
    const N batch = op.n[0], channels = op.n[1], taps = op.n[2], stride = op.n[3];
    const auto *x = (const float*)op.p[0], *weight = (const float*)op.p[1], *bias = (const float*)op.p[2];
    auto *all_past = (float*)op.p[3], *y = (float*)op.p[4];
    const N blocks = (channels + L - 1) / L;
    for (N row = 0; row < batch; row++)
        for (N block = worker.begin(blocks); block < worker.end(blocks); block++) {
            const N first = block * L, count = std::min<N>(L, channels - first);
            float* past = all_past + row * (taps - 1) * channels + first;
            float lanes[L] = {};
            for (N i = 0; i < count; i++) {
                float total = bias[first + i] + weight[(taps - 1) * channels + first + i] * x[row * stride + first + i];
                for (N tap = 0; tap + 1 < taps; tap++)
                    total += weight[tap * channels + first + i] * past[tap * channels + i];
                for (N tap = 0; tap + 2 < taps; tap++) past[tap * channels + i] = past[(tap + 1) * channels + i];
                if (taps > 1) past[(taps - 2) * channels + i] = x[row * stride + first + i];
                lanes[i] = total;
            }
            const V v = load(lanes), activated = v * sigmoid(v);
            for (N i = 0; i < count; i++) y[row * channels + first + i] = activated[i];
        }
}

// the selective scan and its gate; memory [batch][states][padded channels] ---------------------------------------
static void scan(const Op& op, Worker& worker) {
    const N batch = op.n[0], channels = op.n[1], states = op.n[2], padded = op.n[3], select = op.n[4], gate = op.n[5];
    const auto *x = (const float*)op.p[0], *delta = (const float*)op.p[1], *b = (const float*)op.p[2];
    const auto *a = (const float*)op.p[3], *skip = (const float*)op.p[4], *z = (const float*)op.p[5];
    auto *memory = (float*)op.p[6], *y = (float*)op.p[7];
    const float* c = b + states;
    for (N row = 0; row < batch; row++)
        for (N block = worker.begin(padded / L); block < worker.end(padded / L); block++) {
            const N first = block * L, count = std::min<N>(L, channels - first);
            float lanes[3][L] = {};
            for (N i = 0; i < count; i++) {
                lanes[0][i] = x[row * channels + first + i];
                lanes[1][i] = delta[row * channels + first + i];
                lanes[2][i] = z[row * gate + first + i];
            }
            const V input = load(lanes[0]), step = load(lanes[1]), opening = load(lanes[2]);
            V total = input * load(skip + first);
            for (N s = 0; s < states; s++) {
                float* h = memory + (row * states + s) * padded + first;
                const V next = exponential(step * load(a + s * padded + first)) * load(h) + step * input * b[row * select + s];
                store(h, next);
                total += next * c[row * select + s];
            }
            total *= opening * sigmoid(opening);
            for (N i = 0; i < count; i++) y[row * channels + first + i] = total[i];
        }
}

// guidance, temperature, truncation, and exact inversion of the cumulated probabilities -------------------------
struct Choice {
    float temperature, top_p, min_p;
    N top_k;

    void truncate(float* p, N size) const {
        std::vector<float> ordered(p, p + size);
        if (top_k > 0 && top_k < size) {
            std::nth_element(ordered.begin(), ordered.begin() + top_k - 1, ordered.end(), std::greater<float>());
            const float least = ordered[top_k - 1];
            for (N i = 0; i < size; i++) p[i] = p[i] < least ? 0 : p[i];
        }
        if (top_p < 1) {
            const float total = std::accumulate(p, p + size, 0.0f);
            std::vector<N> index(size);
            std::iota(index.begin(), index.end(), 0);
            std::stable_sort(index.begin(), index.end(), [p](N a, N b) { return p[a] > p[b]; });
            float before = 0;
            for (N i : index) {
                const float own = p[i] / total;
                if (before >= top_p) p[i] = 0;
                before += own;
            }
        }
        if (min_p > 0) {
            const float least = min_p * *std::max_element(p, p + size);
            for (N i = 0; i < size; i++) p[i] = p[i] < least ? 0 : p[i];
        }
    }

    // the distribution of the first row of logits c, with those of the null condition u, in p
    void distribution(const float* c, const float* u, float strength, float* p, N size) const {
        if (u) for (N i = 0; i < size; i++) p[i] = u[i] + strength * (c[i] - u[i]);
        else std::copy(c, c + size, p);
        const N likeliest = std::max_element(p, p + size) - p;
        const float greatest = p[likeliest];
        if (temperature == 0) {
            std::fill(p, p + size, 0.0f);
            p[likeliest] = 1;
            return;
        }
        for (N i = 0; i < size; i += L) store(p + i, exponential((load(p + i) - greatest) / temperature));
        if (top_k > 0 || top_p < 1 || min_p > 0) truncate(p, size);
    }

    static N pick(const float* p, N size, float uniform) {
        double total = 0, cumulated = 0;
        for (N i = 0; i < size; i++) total += p[i];
        const double target = total * uniform;
        N last = 0;
        for (N i = 0; i < size; i++) {
            if (p[i] > 0) last = i;
            if ((cumulated += p[i]) > target) return i;
        }
        return last;
    }
};

static void draw(const Op& op, N slot, Worker& worker) {
    const N samples = op.n[0], entries = op.n[1], length = op.n[2], guides = op.n[3];
    const Choice choice{op.f[0], op.f[1], op.f[2], op.n[4]};
    const auto *logits = (const float*)op.p[0], *uniform = (const float*)op.p[1], *strengths = (const float*)op.p[2];
    const auto *offset = (const N*)op.p[3], *sizes = (const N*)op.p[4];
    auto *codes = (N*)op.p[5];
    auto *drawn_by = (float*)op.p[6];  // the distribution of each slot, where it is asked for
    const N size = sizes[slot];
    for (N row = worker.begin(samples); row < worker.end(samples); row++) {
        if (codes[row * length + slot] >= 0) continue;  // known
        float* p = worker.room(size + L);
        const float* c = logits + row * entries + offset[slot];
        choice.distribution(c, guides ? c + samples * entries : nullptr, strengths[slot], p, size);
        codes[row * length + slot] = choice.pick(p, size, uniform[row * length + slot]);
        if (drawn_by) std::copy(p, p + size, drawn_by + slot * entries);
    }
}

// keeps the codes that a draft proposes for the slots from this one on, up to the first that is drawn again -----
static void settle(const Op& op, N slot, Worker& worker) {
    if (worker.thread) return;
    const N tokens = op.n[0], entries = op.n[1], length = op.n[2], guides = op.n[3];
    const Choice choice{op.f[0], op.f[1], op.f[2], op.n[4]};
    const auto *logits = (const float*)op.p[0], *drafts = (const float*)op.p[1], *strengths = (const float*)op.p[2];
    const auto *offset = (const N*)op.p[3], *sizes = (const N*)op.p[4], *known = (const N*)op.p[6];
    const auto *accept = (const float*)op.p[7], *again = (const float*)op.p[8];
    auto *codes = (N*)op.p[5], *counts = (N*)op.p[9];  // counts: settled now; so far: passes, proposed, kept
    const N end = std::min(slot + tokens, length);
    N at = slot;
    for (bool kept = true; kept && at < end; at++) {
        if (known[at] >= 0) continue;
        const N size = sizes[at], proposed = codes[at];
        float* p = worker.room(size + L);
        const float *q = drafts + at * entries, *c = logits + (at - slot) * entries + offset[at];
        choice.distribution(c, guides ? c + tokens * entries : nullptr, strengths[at], p, size);
        const double p_total = std::accumulate(p, p + size, 0.0), q_total = std::accumulate(q, q + size, 0.0);
        const float p_scale = 1 / p_total, q_scale = 1 / q_total;
        kept = accept[at] * (q[proposed] * q_scale) < p[proposed] * p_scale;
        counts[2]++, counts[3] += kept;
        if (kept) continue;
        bool some = false;  // where p and q are equal to the last digit nothing is left of their difference
        for (N i = 0; i < size && !some; i++) some = p[i] * p_scale > q[i] * q_scale;
        if (some) for (N i = 0; i < size; i++) p[i] = std::max(0.0f, p[i] * p_scale - q[i] * q_scale);
        codes[at] = choice.pick(p, size, again[at]);
    }
    std::copy(known + at, known + end, codes + at);  // what is proposed behind it is forgotten
    counts[0] = at - slot, counts[1]++;
}

static void perform(const Op& op, N slot, Worker& worker) {
    switch (op.kind) {
        case EMBED: return embed(op, slot, worker);
        case LINEAR: return linear(op, worker);
        case ATTEND: return attend(op, slot, worker);
        case CONVOLVE: return convolve(op, worker);
        case SCAN: return scan(op, worker);
        case DRAW: return draw(op, slot, worker);
        case SETTLE: return settle(op, slot, worker);
    }
}

template <class Work>
static void by_team(N threads, Work work) {
    Team team(threads);
    auto own = [&](int thread) {
        Worker worker{thread, team.size, {}};
        work(worker, [&](const Op* ops, N count, N slot) {
            for (N i = 0; i < count; i++) {
                perform(ops[i], slot, worker);
                team.wait();
            }
        });
    };
    std::vector<std::thread> others;
    for (int thread = 1; thread < team.size; thread++) others.emplace_back(own, thread);
    own(0);
    for (auto& other : others) other.join();
}

extern "C" {
N lanes() { return L; }

void run(const Op* ops, N count, N first, N last, N threads) {
    by_team(threads, [=](Worker&, auto step) {
        for (N slot = first; slot < last; slot++) step(ops, count, slot);
    });
}

// A draft draws some slots, a prior reads them at once and settles them, until `last` is; returns the slot reached.
N run_pair(const Op* draft, N drafts, const Op* ops, N count, N tokens, const N* settled, N first, N last, N length, N threads) {
    N reached = first;
    by_team(threads, [=, &reached](Worker& worker, auto step) {
        N slot = first;
        while (slot < last) {
            for (N at = slot; at < std::min(slot + tokens, length); at++) step(draft, drafts, at);
            step(ops, count, slot);
            slot += *settled;
        }
        if (!worker.thread) reached = slot;
    });
    return reached;
}
}
