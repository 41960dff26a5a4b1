// Scratch memory that is kept between calls, so that the system need not clear pages each time.
#pragma once
#include <atomic>
#include <cstdlib>

constexpr size_t KEPT = size_t(32) << 20;

class Scratch {
  public:
    explicit Scratch(size_t bytes) : bytes_(round_up(bytes)) {
        if (bytes_ <= KEPT && !busy().exchange(true, std::memory_order_acquire)) {
            kept_ = true;
            if (held_size() < bytes_) {
                std::free(held());
                held() = std::aligned_alloc(64, bytes_);
                held_size() = held() ? bytes_ : 0;
            }
            memory_ = held();
        } else {
            memory_ = std::aligned_alloc(64, bytes_);
        }
    }
    ~Scratch() {
        if (kept_)
            busy().store(false, std::memory_order_release);
        else
            std::free(memory_);
    }
    Scratch(const Scratch &) = delete;
    Scratch &operator=(const Scratch &) = delete;

    char *get() const { return static_cast<char *>(memory_); }

    static size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64 + 64; }

  private:
    static std::atomic<bool> &busy() {
        static std::atomic<bool> it{false};
        return it;
    }
    static void *&held() {
        static void *it = nullptr;
        return it;
    }
    static size_t &held_size() {
        static size_t it = 0;
        return it;
    }
    size_t bytes_;
    void *memory_ = nullptr;
    bool kept_ = false;
};

// Hands out aligned pieces of a block; with a null block it only adds up what is needed.
class Pieces {
  public:
    explicit Pieces(char *block) : block_(block) {}
    template <class T>
    T *take(size_t count) {
        T *piece = block_ ? reinterpret_cast<T *>(block_ + used_) : nullptr;
        used_ += (count * sizeof(T) + 63) / 64 * 64;
        return piece;
    }
    size_t used() const { return used_; }

  private:
    char *block_;
    size_t used_ = 0;
};
