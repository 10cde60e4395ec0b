/* The loops over single pixels that neither NumPy nor OpenCV has: the matte's edge, and the person's own colours.
 *
 * Called by model/kernels.py, which checks the shapes and owns all memory, scratch included: nothing here allocates,
 * fails or keeps anything. What each function is to compute is said in Python, in model/refine.py and
 * app/picture/foreground.py, which do the same by OpenCV where this file could not be compiled.
 *
 * Pictures are rows of bytes, 3 (RGB), 4 (RGBA) or 1 (alpha) for each pixel, without gaps. A coefficient is four
 * floats: slopes of red, green and blue, and offset.
 *
 * Needs the vectors of GCC 12 or Clang; where it does not compile, OpenCV does the work.
 */

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "four pixels are taken apart in little-endian order"
#endif

/* Compiled several times over, of which a processor runs the best that it can. Clang does not put what is inlined into
 * each of them. */
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif
#define INLINED static inline __attribute__((always_inline))

typedef float Four __attribute__((vector_size(16)));
typedef float Eight __attribute__((vector_size(32)));
typedef int32_t Integers __attribute__((vector_size(16)));
typedef uint8_t Bytes __attribute__((vector_size(16)));  /* four pixels of four channels */
typedef uint16_t Words __attribute__((vector_size(32))); /* the same, to calculate with */

static int least(int a, int b) { return a < b ? a : b; }

/* ---- alpha as a linear function of colour ------------------------------------------------------------------------ */

enum { RADIUS = 4, SIDE = 2 * RADIUS + 1 }; /* of the fit's window */
enum { R, G, B, A, RR, RG, RB, GG, GB, BB, RA, GA, BA, QUANTITIES };

/* Where a window that reaches over the edge looks instead: cba|abc|cba. */
INLINED int mirrored(int place, int size) {
  int inside = place % (2 * size);
  if (inside < 0) inside += 2 * size;
  return inside < size ? inside : 2 * size - 1 - inside;
}

INLINED Eight eight(const float *from) {
  Eight value;
  memcpy(&value, from, sizeof value);
  return value;
}

INLINED void put(float *to, Eight value) { memcpy(to, &value, sizeof value); }

/* Adds the row's quantities, times `sign`, to each column's sums. */
INLINED void add_row(float *sums, const float *rows, int stride, float sign) {
  for (int x = 0; x < stride; x += 8) {
    Eight own[4], *of = own;
    for (int c = R; c <= A; c++) {
      own[c] = eight(rows + c * stride + x);
      put(sums + c * stride + x, eight(sums + c * stride + x) + sign * own[c]);
    }
#define ADD(Q, ONE, OTHER) put(sums + Q * stride + x, eight(sums + Q * stride + x) + sign * of[ONE] * of[OTHER])
    ADD(RR, R, R);
    ADD(RG, R, G);
    ADD(RB, R, B);
    ADD(GG, G, G);
    ADD(GB, G, B);
    ADD(BB, B, B);
    ADD(RA, R, A);
    ADD(GA, G, A);
    ADD(BA, B, A);
#undef ADD
  }
}

/* Means over the windows from the sums of their columns. `line` has room for a row and what lies beyond its ends. */
INLINED void across(const float *sums, float *means, float *line, int wide, int stride) {
  for (int k = 0; k < RADIUS; k++) {
    line[k] = sums[mirrored(k - RADIUS, wide)];
    line[RADIUS + wide + k] = sums[mirrored(wide + k, wide)];
  }
  memcpy(line + RADIUS, sums, sizeof(float) * (size_t)wide);
  for (int x = 0; x < stride; x += 8) {
    Eight sum = eight(line + x);
    for (int k = 1; k < SIDE; k++) sum += eight(line + x + k);
    put(means + x, sum * (1.0f / (SIDE * SIDE)));
  }
}

/* Slopes and offset from the windows' means, by A = L D Lt. `fits`: four rows, one after the other. */
INLINED void solve(const float *means, float *fits, int stride, float epsilon) {
  for (int x = 0; x < stride; x += 8) {
    Eight m[QUANTITIES];
    for (int q = 0; q < QUANTITIES; q++) m[q] = eight(means + q * stride + x);
    Eight rr = m[RR] - m[R] * m[R] + epsilon, rg = m[RG] - m[R] * m[G], rb = m[RB] - m[R] * m[B];
    Eight gg = m[GG] - m[G] * m[G] + epsilon, gb = m[GB] - m[G] * m[B];
    Eight bb = m[BB] - m[B] * m[B] + epsilon;
    Eight r = m[RA] - m[R] * m[A], g = m[GA] - m[G] * m[A], b = m[BA] - m[B] * m[A];
    Eight l21 = rg / rr, l31 = rb / rr;
    Eight d2 = gg - l21 * rg, rest = gb - l21 * rb;
    Eight l32 = rest / d2;
    Eight d3 = bb - l31 * rb - l32 * rest;
    Eight y2 = g - l21 * r, y3 = b - l31 * r - l32 * y2;
    Eight blue = y3 / d3, green = y2 / d2 - l32 * blue, red = r / rr - l21 * green - l31 * blue;
    put(fits + x, red);
    put(fits + stride + x, green);
    put(fits + 2 * stride + x, blue);
    put(fits + 3 * stride + x, m[A] - red * (m[R] + 0.5f) - green * (m[G] + 0.5f) - blue * (m[B] + 0.5f));
  }
}

/* What `fit_to_colour` needs, in floats. */
size_t fit_scratch(int high, int wide) {
  size_t stride = ((size_t)wide + 7) / 8 * 8;
  return 8 * stride * (size_t)high + (2 * QUANTITIES + 4 + 4 + 1) * stride + 64;
}

/* Of a square of high x wide pixels: the fit where it is undecided, elsewhere its alpha as an offset. */
FOR_EACH_PROCESSOR
void fit_to_colour(const uint8_t *square, const float *alpha, const uint8_t *undecided, int high, int wide,
                   float epsilon, float *coefficients, float *scratch) {
  int stride = (wide + 7) / 8 * 8;
  ptrdiff_t pixels = (ptrdiff_t)high * wide;
  Four *fits = (Four *)scratch, *columns = fits + (ptrdiff_t)high * stride, *to = (Four *)coefficients;
  float *rows = (float *)(columns + stride), *sums = rows + 4 * (ptrdiff_t)high * stride;
  float *means = sums + QUANTITIES * stride, *fit = means + QUANTITIES * stride, *line = fit + 4 * stride;
  for (int y = 0; y < high; y++) {
    float *row = rows + 4 * (ptrdiff_t)y * stride;
    const uint8_t *from = square + 3 * (ptrdiff_t)y * wide;
    /* Colours around zero: what is left of their products without the means' products is more exact. */
    for (int x = 0; x < wide; x++)
      for (int c = R; c <= B; c++) row[c * stride + x] = from[3 * x + c] * (1.0f / 255) - 0.5f;
    memcpy(row + A * stride, alpha + (ptrdiff_t)y * wide, sizeof(float) * (size_t)wide);
    for (int c = R; c <= A; c++) memset(row + c * stride + wide, 0, sizeof(float) * (size_t)(stride - wide));
  }
#define ROW(Y) (rows + 4 * (ptrdiff_t)mirrored(Y, high) * stride)
  memset(sums, 0, sizeof(float) * QUANTITIES * (size_t)stride);
  memset(line, 0, sizeof(float) * (size_t)(stride + 2 * RADIUS));
  for (int k = -RADIUS; k < RADIUS; k++) add_row(sums, ROW(k), stride, 1);
  for (int y = 0; y < high; y++) {
    add_row(sums, ROW(y + RADIUS), stride, 1);
    for (int q = 0; q < QUANTITIES; q++) across(sums + q * stride, means + q * stride, line, wide, stride);
    solve(means, fit, stride, epsilon);
    for (int x = 0; x < wide; x++)
      fits[(ptrdiff_t)y * wide + x] = (Four){fit[x], fit[stride + x], fit[2 * stride + x], fit[3 * stride + x]};
    add_row(sums, ROW(y - RADIUS), stride, -1);
  }
#undef ROW
  /* Each pixel's coefficients: the mean of the fits of all windows that hold it. */
#define ROW(Y) (fits + (ptrdiff_t)mirrored(Y, high) * wide)
  memset(columns, 0, sizeof(Four) * (size_t)wide);
  for (int k = -RADIUS; k < RADIUS; k++)
    for (int x = 0; x < wide; x++) columns[x] += ROW(k)[x];
  for (ptrdiff_t i = 0, y = 0; i < pixels; y++) {
    const Four *comes = ROW((int)y + RADIUS), *goes = ROW((int)y - RADIUS);
    Four sum = {0, 0, 0, 0};
    for (int x = 0; x < wide; x++) columns[x] += comes[x];
    for (int k = -RADIUS; k < RADIUS; k++) sum += columns[mirrored(k, wide)];
    for (int x = 0; x < wide; x++, i++) {
      sum += columns[mirrored(x + RADIUS, wide)];
      to[i] = undecided[i] ? sum * (1.0f / (SIDE * SIDE)) : (Four){0, 0, 0, alpha[i]};
      sum -= columns[mirrored(x - RADIUS, wide)];
    }
    for (int x = 0; x < wide; x++) columns[x] -= goes[x];
  }
#undef ROW
}

/* ---- four pixels at once ----------------------------------------------------------------------------------------- */

#define TAKEN(V, ...) __builtin_shufflevector(V, V, __VA_ARGS__)
#define ZERO_BETWEEN(V, I, J, K, L) \
  __builtin_shufflevector(V, (Bytes){0}, I, 16, 16, 16, J, 16, 16, 16, K, 16, 16, 16, L, 16, 16, 16)

/* RGB to RGBA with 255 in the fourth channel. All 16 bytes from `from` on must be there to be read. */
INLINED Bytes opaque(const uint8_t *from) {
  const Bytes fourth = {0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255};
  Bytes pixels;
  memcpy(&pixels, from, sizeof pixels);
  return TAKEN(pixels, 0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0) | fourth;
}

/* The same for fewer than four pixels, or for the last of a picture. */
INLINED Bytes opaque_few(const uint8_t *from, int pixels) {
  uint8_t copy[16] = {0};
  memcpy(copy, from, 3 * (size_t)pixels);
  return opaque(copy);
}

/* ---- the matte's edge -------------------------------------------------------------------------------------------- */

/* Slope times colour, summed, of four pixels; 0..255, rounded. */
INLINED uint32_t levels(Bytes pixels, Four first, Four step, float at, float by) {
#define COLOUR(N) __builtin_convertvector((Integers)ZERO_BETWEEN(pixels, 4 * N, 4 * N + 1, 4 * N + 2, 4 * N + 3), Four)
  Four one = (first + at * step) * COLOUR(0);
  Four two = (first + (at + by) * step) * COLOUR(1);
  Four three = (first + (at + 2 * by) * step) * COLOUR(2);
  Four four = (first + (at + 3 * by) * step) * COLOUR(3);
#undef COLOUR
  Four left = __builtin_shufflevector(one, two, 0, 1, 4, 5) + __builtin_shufflevector(one, two, 2, 3, 6, 7);
  Four right = __builtin_shufflevector(three, four, 0, 1, 4, 5) + __builtin_shufflevector(three, four, 2, 3, 6, 7);
  Four sum = __builtin_shufflevector(left, right, 0, 2, 4, 6) + __builtin_shufflevector(left, right, 1, 3, 5, 7);
  const Four most = {255, 255, 255, 255};
  Integers above = sum > most;
  sum = (Four)(((Integers)sum & ~above & (sum > 0)) | ((Integers)most & above));
  Integers whole = __builtin_convertvector(sum + 0.5f, Integers);
  return (uint32_t)whole[0] | (uint32_t)whole[1] << 8 | (uint32_t)whole[2] << 16 | (uint32_t)whole[3] << 24;
}

/* Into `refined`, height x width, what the enlarged coefficients make of the image: only where one of the four that
 * lie around a pixel is undecided. `line`: 4 floats for each column of the square. */
FOR_EACH_PROCESSOR
void follow_colour(const uint8_t *image, const float *coefficients, const uint8_t *undecided, int high, int wide,
                   int height, int width, uint8_t *refined, float *line) {
  const float down = (float)high / height, by = (float)wide / width;
  Four *row = (Four *)line;
  for (int y = 0; y < height; y++) {
    float place = (y + 0.5f) * down - 0.5f;
    int above = (int)floorf(place), upper = above < 0 ? 0 : above, lower = least(above + 1, high - 1);
    const uint8_t *near_upper = undecided + (ptrdiff_t)upper * wide, *near_lower = undecided + (ptrdiff_t)lower * wide;
    if (!memchr(near_upper, 1, (size_t)wide) && !memchr(near_lower, 1, (size_t)wide)) continue;
    const Four *first = (const Four *)coefficients + (ptrdiff_t)upper * wide;
    const Four *second = (const Four *)coefficients + (ptrdiff_t)lower * wide;
    for (int j = 0; j < wide; j++) row[j] = first[j] + (place - above) * (second[j] - first[j]);
    const uint8_t *pixels = image + 3 * (ptrdiff_t)y * width;
    uint8_t *to = refined + (ptrdiff_t)y * width;
    for (int j = -1, x = 0, end; j < wide; j++, x = end) { /* the pixels between the middles of j and j + 1 */
      int left = j < 0 ? 0 : j, right = least(j + 1, wide - 1);
      end = j == wide - 1 ? width : least((int)ceilf((j + 1.5f) / by - 0.5f), width);
      if (end < x) end = x;
      if (!(near_upper[left] | near_upper[right] | near_lower[left] | near_lower[right])) continue;
      Four step = row[right] - row[left];
      for (; x < end; x += 4) {
        int count = least(4, end - x);
        Bytes four = x + 6 <= width ? opaque(pixels + 3 * x) : opaque_few(pixels + 3 * x, count);
        uint32_t found = levels(four, row[left], step, (x + 0.5f) * by - 0.5f - j, by);
        if (count == 4)
          memcpy(to + x, &found, 4);
        else
          memcpy(to + x, &found, (size_t)count);
      }
    }
  }
}

/* ---- the person's own colours ------------------------------------------------------------------------------------ */

enum { HIDDEN, SOLID, EDGE, AROUND }; /* kinds of tiles; model/kernels.py names them, too */
enum { MARGIN = 64 };                 /* bytes that may be written behind a row of scratch */

typedef uint32_t Pixels __attribute__((vector_size(16)));

INLINED Words words(Bytes bytes) { return __builtin_convertvector(bytes, Words); }

INLINED Bytes narrowed(Words values) { return __builtin_convertvector(values, Bytes); }

INLINED Words four_times(const uint8_t *pixel) {
  uint32_t value;
  memcpy(&value, pixel, sizeof value);
  return words((Bytes)(Pixels){value, value, value, value});
}

/* v / 255, rounded, of up to 255 * 255. */
INLINED Words by_255(Words v) {
  v += 128;
  return (v + (v >> 8)) >> 8;
}

/* `share` of 256 on the way from one to the other. */
INLINED Words between(Words from, Words to, Words share) { return (from * (256 - share) + to * share + 128) >> 8; }

INLINED Bytes bytes_of(const uint8_t *from) {
  Bytes value;
  memcpy(&value, from, sizeof value);
  return value;
}

/* For each of the pixels between two samples, four times, how far it is on the way, of 256. */
INLINED void set_shares(uint16_t *shares, int cell) {
  for (int k = 0; k < cell; k++)
    for (int c = 0; c < 4; c++) shares[4 * k + c] = (uint16_t)(((2 * k + 1 - cell % 2) * 128 + cell / 2) / cell);
  memset(shares + 4 * cell, 0, 4 * 3 * sizeof *shares);
}

/* A row of samples at `cell` times its width. The sample j lies (j - 0.5) * cell - 0.5 pixels from the first pixel:
 * the one with which `samples` begins lies outside of the photo. */
INLINED void enlarge(const uint8_t *samples, const uint16_t *shares, int cell, int width, uint8_t *line) {
  for (int j = 0, x = 0; x < width; j++, samples += 4) {
    int first = j ? x : -(cell / 2) - cell % 2, end = least((2 * j + 1) * cell / 2, width);
    Words from = four_times(samples), to = four_times(samples + 4);
    for (; x < end; x += 4) {
      Words share;
      memcpy(&share, shares + 4 * (x - first), sizeof share);
      Bytes four = narrowed(between(from, to, share));
      memcpy(line + 4 * (ptrdiff_t)x, &four, sizeof four);
    }
    x = end;
  }
}

/* What `cut_out` needs, in bytes. */
size_t cut_out_scratch(int width, int cell) { return 4 * (4 * (size_t)width + MARGIN) + 8 * ((size_t)cell + 4); }

/* Of `rows` rows of a photo, from the row `top` on, colours and alpha of the foreground, `into` RGBA. All of them lie
 * in one row of tiles of `tile` pixels, whose kinds are given. `near` and `far`: mean colours of foreground and
 * background, RGBA, `across` samples in each row, as `enlarge` wants them. */
FOR_EACH_PROCESSOR
void cut_out(const uint8_t *image, const uint8_t *alpha, int top, int rows, int width, const uint8_t *kinds, int tile,
             const uint8_t *near, const uint8_t *far, int across, int cell, uint8_t *into, uint8_t *scratch) {
  const Bytes fourth = {0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255};
  const Words none = words((Bytes){0});
  const size_t line = 4 * (size_t)width + MARGIN, step = 4 * (size_t)across;
  uint8_t *lines[4] = {scratch, scratch + line, scratch + 2 * line, scratch + 3 * line}; /* near, far, near, far */
  uint16_t *shares = (uint16_t *)(scratch + 4 * line);
  int mixed = 0, shown = -1; /* the row of samples that the first two lines hold */
  for (int first = 0; first < width; first += tile) mixed |= kinds[first / tile] >= EDGE;
  if (mixed) set_shares(shares, cell);
  for (int y = top; y < top + rows; y++) {
    const uint8_t *pixels = image + 3 * (ptrdiff_t)y * width, *shade = alpha + (ptrdiff_t)y * width;
    uint8_t *to = into + 4 * (ptrdiff_t)(y - top) * width;
    int sample = (2 * y + 1 + cell) / (2 * cell);
    Words down = none + (uint16_t)(((2 * y + 1 + cell - 2 * cell * sample) * 128 + cell / 2) / cell);
    if (mixed && sample != shown) {
      for (int i = 0; i < 2; i++) {
        const uint8_t *upper = (i ? far : near) + (size_t)sample * step;
        if (sample == shown + 1 && shown >= 0) {
          uint8_t *again = lines[i];
          lines[i] = lines[i + 2];
          lines[i + 2] = again;
        } else {
          enlarge(upper, shares, cell, width, lines[i]);
        }
        enlarge(upper + step, shares, cell, width, lines[i + 2]);
      }
      shown = sample;
    }
    for (int x = 0, end; x < width; x = end) {
      int kind = kinds[x / tile];
      for (end = least(x + tile, width); end < width && kinds[end / tile] == kind;) end = least(end + tile, width);
      if (kind == HIDDEN) memset(to + 4 * x, 0, 4 * (size_t)(end - x));
      if (kind == HIDDEN) continue;
      for (; x < end; x += 4) {
        int count = least(4, end - x);
        uint32_t shades = 0;
        if (count == 4)
          memcpy(&shades, shade + x, 4);
        else
          memcpy(&shades, shade + x, (size_t)count);
        Bytes four = x + 6 <= width ? opaque(pixels + 3 * x) : opaque_few(pixels + 3 * x, count);
        if (kind != SOLID) {
          Bytes opacity = (Bytes)(Pixels){shades, shades, shades, shades};
          opacity = TAKEN(opacity, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
          Words own = words(bytes_of(lines[0] + 4 * x));
          own = between(own, words(bytes_of(lines[2] + 4 * x)), down);
          if (kind == EDGE) {
            Words ground = words(bytes_of(lines[1] + 4 * x)), a = words(opacity);
            ground = between(ground, words(bytes_of(lines[3] + 4 * x)), down);
            Words more = by_255(words(four) * a) + by_255(own * (255 - by_255(a * a)));
            Words less = by_255(ground * by_255(a * (255 - a)));
            Words rest = (Words)(more > less) & (more - less), high = (Words)(rest > 255);
            own = (rest & ~high) | (high & 255);
          }
          four = (narrowed(own) & ~fourth) | (opacity & fourth);
        }
        if (count == 4)
          memcpy(to + 4 * x, &four, 16);
        else
          memcpy(to + 4 * x, &four, 4 * (size_t)count);
      }
    }
  }
}
