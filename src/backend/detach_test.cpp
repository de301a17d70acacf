// Ending many links: each once, those that wait at the same time, the others in order and by who asks.
#include <gtest/gtest.h>

#include <barrier>
#include <skep/backend.hpp>
#include <thread>

namespace skep {
namespace {

/// Its end waits for that of all the others.
class Waiting final : public Link::Impl {
 public:
  explicit Waiting(std::barrier<>& all) : all_(all) {}
  ~Waiting() override { all_.arrive_and_wait(); }
  bool waits_to_end() const override { return true; }

 private:
  std::barrier<>& all_;
};

class AtOnce final : public Link::Impl {
 public:
  AtOnce(std::vector<int>& ended, int number) : ended_(ended), number_(number) {}
  ~AtOnce() override {
    EXPECT_EQ(std::this_thread::get_id(), maker_);
    ended_.push_back(number_);
  }

 private:
  std::vector<int>& ended_;
  int number_;
  std::thread::id maker_ = std::this_thread::get_id();
};

TEST(Detach, AllEndAndThoseThatWaitWaitTogether) {
  std::barrier all(20);
  std::vector<int> ended;
  std::vector<Link> links;
  for (int i = 0; i < 20; ++i) {
    links.emplace_back(std::make_unique<Waiting>(all));
    links.emplace_back(std::make_unique<AtOnce>(ended, i));
  }
  links[7].detach();  // number 3
  detach_all(links);
  EXPECT_TRUE(links.empty());
  EXPECT_EQ(ended, (std::vector{3, 0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}));
}

TEST(Detach, NoneAndWhatWasDetached) {
  std::vector<Link> links;
  detach_all(links);
  std::vector<int> ended;
  links.emplace_back(std::make_unique<AtOnce>(ended, 1));
  links.front().detach();
  EXPECT_FALSE(links.front().waits_to_end());
  detach_all(links);
  EXPECT_EQ(ended, std::vector{1});
}

}  // namespace
}  // namespace skep
